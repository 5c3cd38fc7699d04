"""Episodes against single, unpadded forward passes of the networks they came from."""

import pytest
import torch

from training.contract.configs import PPOConfig
from training.ppo.networks import Networks
from training.ppo.rollout import cut, logprobs_of, roll_out
from training.ppo.update import scores_of_endings
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model, new_reward_model, save_reward_model
from training.text.logprobs import selected_logprobs
from training.text.policy import forbidden_token_ids, load_policy

CONFIG = PPOConfig(max_completion_tokens=6, batch_size=8, minibatch_size=4, micro_batch_tokens=40)
PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12, 13, 14, 15, 16], [5, 6, 7, 8], [20, 21], [22, 23, 24], [9], [25, 26]]


@pytest.fixture
def cast(network, tmp_path):
    """Make a policy, another network as reference and a reward model with an offset, all of one family."""
    torch.manual_seed(4)
    policy, tokenizer = load_policy(network)
    reference, _ = load_policy(network)
    for weight in policy.parameters():
        weight.data += 0.02 * torch.randn_like(weight)
    reward_model, _ = new_reward_model(network)
    reward_model.config.score_offset = 0.7
    save_reward_model(reward_model, tokenizer, tmp_path / "rm")
    reward_model, _, offset = load_reward_model(tmp_path / "rm")
    assert offset == 0.7
    return policy, reference, reward_model, tokenizer


def rolled(cast, critic=None, config=CONFIG):
    policy, reference, reward_model, tokenizer = cast
    networks = Networks(policy, reference, reward_model, critic, tokenizer)
    return roll_out(PROMPTS, networks, config, torch.Generator().manual_seed(3))


@torch.no_grad()
def plain_logprobs(model, tokenizer, prompt, completion):
    ids = torch.tensor([prompt + completion])
    selected = torch.arange(ids.shape[1])[None] >= len(prompt)
    forbidden = forbidden_token_ids(model, tokenizer)
    mask = torch.ones_like(ids)
    return selected_logprobs(model, ids, selected, forbidden, mask)[0, len(prompt) :]


@torch.no_grad()
def plain_score(reward_model, ids):
    """Score one unpadded sequence by transformers alone."""
    return float(reward_model(input_ids=torch.tensor([ids])).logits[0, 0]) - 0.7


def test_each_number_is_that_of_an_unpadded_forward_pass(cast):
    policy, reference, reward_model, tokenizer = cast
    episodes = rolled(cast, ValueModel(reward_model))
    for row, prompt in enumerate(PROMPTS):
        completion = episodes.completion(row)
        assert len(completion) == int(episodes.lengths[row])
        length = len(completion)
        for got, network in ((episodes.logprobs, policy), (episodes.reference_logprobs, reference)):
            expected = plain_logprobs(network, tokenizer, prompt, completion)
            torch.testing.assert_close(got[row, :length], expected, rtol=0, atol=1e-5)
        assert float(episodes.scores[row]) == pytest.approx(plain_score(reward_model, prompt + completion), abs=1e-5)
        for t in range(length):  # the critic starts as the reward model, so V is the score of the text so far
            expected = plain_score(reward_model, prompt + completion[:t])
            assert float(episodes.values[row, t]) == pytest.approx(expected, abs=1e-5)
        assert not episodes.values[row, length:].any() and not episodes.reference_logprobs[row, length:].any()


def test_kl_from_itself_is_zero_and_ratio_one(cast):
    _, reference, reward_model, tokenizer = cast
    episodes = rolled((reference, reference, reward_model, tokenizer))
    assert episodes.kl_nats.abs().max() < 6 * 1e-5
    again = logprobs_of(reference, episodes, forbidden_token_ids(reference, tokenizer), CONFIG)
    torch.testing.assert_close(again * episodes.mask, episodes.logprobs, rtol=0, atol=2e-5)


def test_temperature_holds_for_sampler_trainer_and_reference_alike(cast):
    _, reference, reward_model, tokenizer = cast
    config = CONFIG.model_copy(update={"temperature": 0.6})
    episodes = rolled((reference, reference, reward_model, tokenizer), config=config)
    assert episodes.kl_nats.abs().max() < 6 * 1e-5


def test_fewer_rows_lose_nothing_but_padding(cast):
    _, _, reward_model, _ = cast
    episodes = rolled(cast, ValueModel(reward_model))
    groups = cut(episodes, torch.arange(len(episodes)), CONFIG.micro_batch_tokens)
    assert sorted(torch.cat(groups).tolist()) == list(range(len(PROMPTS)))
    assert len(groups) > 1
    for group in groups:
        part = episodes.take(group)
        for place, row in enumerate(group.tolist()):
            assert part.completion(place) == episodes.completion(row)
            assert float(part.kl_nats[place]) == pytest.approx(float(episodes.kl_nats[row]), abs=1e-6)
            start = part.input_ids.shape[1] - part.mask.shape[1]
            assert part.input_ids[place, start - len(PROMPTS[row]) : start].tolist() == PROMPTS[row]


def test_a_completion_that_never_ended_gets_the_missing_eos_rule(cast):
    episodes = rolled(cast)
    episodes.finished[:] = torch.arange(len(PROMPTS)) % 2 == 0
    penalised = scores_of_endings(episodes, CONFIG.model_copy(update={"missing_eos_penalty": 1.5}))
    torch.testing.assert_close(penalised[::2], episodes.scores[::2])
    torch.testing.assert_close(penalised[1::2], episodes.scores[1::2] - 1.5)
    replaced = scores_of_endings(episodes, CONFIG.model_copy(update={"missing_eos_score": -1.0}))
    torch.testing.assert_close(replaced[::2], episodes.scores[::2])
    assert (replaced[1::2] == -1.0).all()
    torch.testing.assert_close(scores_of_endings(episodes, CONFIG), episodes.scores)


def test_the_critic_is_a_copy_of_its_own(cast):
    _, _, reward_model, _ = cast
    critic = ValueModel(reward_model)
    before = reward_model.score.weight.clone()
    for weight in critic.parameters():
        weight.data.zero_()
    assert torch.equal(reward_model.score.weight, before)
    assert all(weight.requires_grad for weight in critic.parameters())


def test_a_critic_of_adapters_shares_the_reward_models_weights_and_leaves_them_as_they_are(cast):
    reward_model = cast[2].requires_grad_(False)
    padded = ValueModel(reward_model)
    padded.body._can_be_ragged = False
    whole = rolled(cast, padded)
    before, critic = rolled(cast), ValueModel(reward_model, lora_rank=2)
    torch.testing.assert_close(rolled(cast, critic).values, whole.values, atol=1e-5, rtol=1e-5)
    learnt = {name: weights for name, weights in critic.named_parameters() if weights.requires_grad}
    assert all("lora" in name or name.startswith("head.") for name in learnt) and len(learnt) > 2
    owned = {weights.data_ptr() for weights in reward_model.parameters()}
    assert all(w.data_ptr() in owned for name, w in critic.named_parameters() if name not in learnt)
    step = torch.optim.SGD(learnt.values(), lr=0.1)
    for _ in range(2):  # after the first the lower halves of the adapters have a gradient too
        critic(before.input_ids, before.attention_mask, before.mask.shape[1]).square().sum().backward()
        step.step()
    assert not torch.equal(rolled(cast, critic).values, whole.values)
    assert torch.equal(rolled(cast).scores, before.scores)
