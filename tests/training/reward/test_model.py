"""Eq. 1 against brute force in float64, scores against plain transformers."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.stats import binom
from transformers import AutoConfig, AutoModelForSequenceClassification

from training.reward.model import (
    Pair,
    k_wise_loss,
    load_reward_model,
    new_reward_model,
    pair_accuracy,
    save_reward_model,
    score,
    score_sequences,
)
from training.text.formatting import encode_completion
from training.text.padding import pad
from training.text.policy import load_policy, save_policy

TEXTS = ["the cat", "one two three 1234 and the cat ran", "the mat, the dog sat on the mat.", "a"]


def rankings(seed=0, prompts=7):
    """Draw random tiers with ties, one prompt all ties; return scores [N] in float64 and each prompt's pairs."""
    rng = np.random.default_rng(seed)
    groups, first = [], 0
    for number in range(prompts):
        k = int(rng.integers(2, 10))
        tiers = np.ones(k, int) if number == 3 else rng.integers(1, 4, k)
        ranked = combinations(range(k), 2)
        pairs = [(a, b) if tiers[a] < tiers[b] else (b, a) for a, b in ranked if tiers[a] != tiers[b]]
        groups.append([Pair(first + a, first + b) for a, b in pairs])
        first += k
    return torch.tensor(rng.normal(size=first) * 3), groups


def brute_force(scores, groups):
    """Compute -log sigmoid(difference), averaged over each prompt's pairs, then over prompts that have any."""
    prompts = []
    for pairs in groups:
        if pairs:
            prompts.append(
                sum(math.log1p(math.exp(-(scores[p.chosen] - scores[p.rejected]))) for p in pairs) / len(pairs)
            )
    return sum(prompts) / len(prompts)


def test_loss_and_gradient_are_those_of_brute_force():
    scores, groups = rankings()
    scores.requires_grad_()
    with_pairs = sum(bool(pairs) for pairs in groups)
    loss = k_wise_loss(scores, groups, with_pairs)
    loss.backward()
    values = scores.detach().tolist()
    assert loss.item() == pytest.approx(brute_force(values, groups), rel=1e-12)
    step = 1e-6
    for index in range(len(values)):
        up, down = values.copy(), values.copy()
        up[index] += step
        down[index] -= step
        slope = (brute_force(up, groups) - brute_force(down, groups)) / (2 * step)
        assert float(scores.grad[index]) == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_loss_and_gradient_do_not_depend_on_micro_batches(size):
    scores, groups = rankings(1)
    whole = scores.clone().requires_grad_()
    with_pairs = sum(bool(pairs) for pairs in groups)
    k_wise_loss(whole, groups, with_pairs).backward()
    parts = scores.clone().requires_grad_()
    total = 0.0
    for start in range(0, len(groups), size):
        loss = k_wise_loss(parts, groups[start : start + size], with_pairs)
        loss.backward()
        total += loss.item()
    assert total == pytest.approx(float(k_wise_loss(scores, groups, with_pairs)), rel=1e-12)
    torch.testing.assert_close(parts.grad, whole.grad, rtol=1e-12, atol=1e-15)


def test_a_step_of_ties_alone_costs_nothing():
    scores = torch.randn(4, requires_grad=True)
    loss = k_wise_loss(scores, [[], []], 1)
    loss.backward()
    assert loss.item() == 0 and scores.grad.abs().sum() == 0


def test_equal_scores_cost_ln_two_and_a_constant_costs_nothing():
    scores, groups = rankings(2)
    with_pairs = sum(bool(pairs) for pairs in groups)
    assert float(k_wise_loss(torch.zeros_like(scores), groups, with_pairs)) == pytest.approx(math.log(2))
    assert float(k_wise_loss(scores + 5, groups, with_pairs)) == pytest.approx(
        float(k_wise_loss(scores, groups, with_pairs))
    )


def test_the_head_is_fresh_and_of_the_stated_width(network):
    stds = []
    for seed in range(40):
        torch.manual_seed(seed)
        model, _ = new_reward_model(network)
        assert model.score.weight.shape == (1, 32)
        stds.append(float(model.score.weight.std()))
    assert np.mean(stds) == pytest.approx(1 / math.sqrt(33), rel=0.05)


@torch.no_grad()
def test_the_body_is_the_policys_and_the_unembedding_is_gone(network):
    policy, _ = load_policy(network)
    torch.manual_seed(0)
    model, _ = new_reward_model(network)
    theirs = policy.base_model.state_dict()
    rows = AutoConfig.from_pretrained(network).vocab_size  # a pad token's new row is random
    for name, weight in model.base_model.state_dict().items():
        torch.testing.assert_close(weight[:rows], theirs[name][:rows], rtol=0, atol=0, msg=name)
    assert model.get_output_embeddings() is None


@torch.no_grad()
def test_plain_transformers_gives_our_score_plus_the_offset(network, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = new_reward_model(network)
    model.config.score_offset = 1.25
    save_reward_model(model, tokenizer, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["score_offset"] == 1.25

    ours, tokenizer, offset = load_reward_model(tmp_path)
    sequences = [encode_completion(tokenizer, text) for text in TEXTS]
    scores = score_sequences(ours, sequences, tokenizer.pad_token_id, micro_batch_tokens=40) - offset
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids, mask = pad(sequences, tokenizer.pad_token_id)
    logits = plain(input_ids=ids, attention_mask=mask).logits[:, 0]
    torch.testing.assert_close(logits, scores + 1.25, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_score_is_taken_at_the_last_real_token_wherever_the_padding_lies(network):
    torch.manual_seed(0)
    model, tokenizer = new_reward_model(network)
    sequences = [encode_completion(tokenizer, text) for text in TEXTS]
    sequences.append([*sequences[1][:4], tokenizer.pad_token_id])  # a pad id that is a real token by its mask
    hidden = [model.base_model(torch.tensor([sequence])).last_hidden_state[0, -1] for sequence in sequences]
    alone = model.score(torch.stack(hidden))[:, 0]
    for left in (False, True):
        torch.testing.assert_close(
            score(model, *pad(sequences, tokenizer.pad_token_id, left=left)), alone, rtol=1e-4, atol=1e-4
        )


def test_a_language_network_is_not_taken_for_a_reward_model(network, tmp_path):
    save_policy(*load_policy(network), tmp_path)
    with pytest.raises(ValueError, match="holds no reward model"):
        load_reward_model(tmp_path)


def test_a_reward_model_is_not_taken_for_a_policy(network, tmp_path):
    save_reward_model(*new_reward_model(network), tmp_path)
    with pytest.raises(ValueError, match="holds a reward model, which writes no text"):
        load_policy(tmp_path)


def test_accuracy_counts_pairs_and_a_tie_as_half():
    measured = pair_accuracy(
        [3.0, 2.0, 1.0, 1.0, 5.0],
        [[Pair(0, 1), Pair(0, 2)], [Pair(2, 3)], [], [Pair(3, 4)]],
    )
    assert measured["accuracy"] == pytest.approx(2.5 / 4)
    assert (measured["pairs"], measured["prompts"]) == (4, 3)
    assert measured["low"] < 2.5 / 4 < measured["high"]
    assert pair_accuracy([1.0], [[]]) == {"pairs": 0.0, "prompts": 0.0}


def test_pairs_that_stand_and_fall_together_count_once():
    scores = [1.0, 0.0] * 100
    for copies in (1, 15):
        groups = [[Pair(2 * i, 2 * i + 1) if i < 70 else Pair(2 * i + 1, 2 * i)] * copies for i in range(100)]
        measured = pair_accuracy(scores, groups)
        assert (measured["accuracy"], measured["pairs"], measured["prompts"]) == (0.7, 100 * copies, 100)
        for end, tail in (("low", 0.025), ("high", 0.975)):
            at_end = binom.sf(70, 100, measured[end]) + binom.pmf(70, 100, measured[end]) / 2
            assert at_end == pytest.approx(tail, abs=1e-6)


def test_one_prompt_ranked_rightly_is_no_proof():
    groups = [[Pair(a, b) for a in range(9) for b in range(a + 1, 9)]]
    measured = pair_accuracy([float(-place) for place in range(9)], groups)
    assert (measured["accuracy"], measured["pairs"], measured["prompts"]) == (1.0, 36, 1)
    assert measured["low"] < 0.1 and measured["high"] == 1.0


def test_a_soft_target_is_the_cross_entropy_of_its_probability():
    scores = torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64, requires_grad=True)
    pairs = [Pair(0, 1, 0.8, 0.2), Pair(2, 0, 0.55, 0.45)]
    loss = k_wise_loss(scores, [pairs], 1)
    differences = scores[[0, 2]] - scores[[1, 0]]
    targets = torch.tensor([0.8, 0.55], dtype=torch.float64)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(differences, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    # It is least where the odds are the judge's own.
    best = torch.tensor([math.log(0.8 / 0.2), 0.0], dtype=torch.float64, requires_grad=True)
    k_wise_loss(best, [[Pair(0, 1, 0.8, 0.2)]], 1).backward()
    assert best.grad.abs().max() < 1e-12


@pytest.mark.parametrize("margin", [0.1, 0.7, 3.0])
def test_with_a_margin_an_order_a_tie_and_the_other_order_are_all_there_is(margin):
    scores = torch.tensor([0.9, 0.2], dtype=torch.float64)
    outcomes = (Pair(0, 1), Pair(1, 0), Pair(0, 1, 1.0, 1.0))
    chances = [math.exp(-k_wise_loss(scores, [[pair]], 1, margin).item()) for pair in outcomes]
    assert sum(chances) == pytest.approx(1, rel=1e-12)
    assert chances[0] == pytest.approx(1 / (1 + math.exp(margin - 0.7)), rel=1e-12)
    tied = torch.tensor([0.9, 0.2], dtype=torch.float64, requires_grad=True)
    k_wise_loss(tied, [[outcomes[2]]], 1, margin).backward()
    assert tied.grad[0] > 0 > tied.grad[1]  # a tie pulls the scores together


def test_a_tie_is_neither_right_nor_wrong():
    assert pair_accuracy([2.0, 1.0], [[Pair(0, 1), Pair(0, 1, 1.0, 1.0)]])["pairs"] == 1
