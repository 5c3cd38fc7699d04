"""Failures of other trainers that no other test here covers; docs/training-correctness.md lists all."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import GenerationConfig

from tests.training.ppo.runs import saved_reward_model, settings, trained
from training.contract import events
from training.contract.configs import PPOConfig, RewardModelConfig
from training.contract.recipes import CONFIGS, RECIPES, make_config
from training.contract.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    PROMPTS,
    ComparisonRecord,
    DemonstrationRecord,
    Message,
    PromptRecord,
    RankedCompletion,
    read,
    write,
)
from training.ppo.networks import Networks
from training.ppo.rollout import roll_out
from training.ppo.update import scores_of_endings
from training.ppo.value_model import ValueModel
from training.reward.model import load_reward_model, new_reward_model, save_reward_model, score_sequences
from training.reward.rankings import TIES, read_rankings
from training.run.run_folder import RunFolder
from training.text.formatting import decode_completion, encode_completion, encode_demonstration, encode_prompt
from training.text.logprobs import selected_logprobs
from training.text.padding import pad
from training.text.policy import forbidden_token_ids, load_policy, save_policy
from training.text.sampler import sample

ROOT = Path(__file__).resolve().parents[2]


def run(verb: str, folder: Path, **keys) -> list:
    with RunFolder(folder) as run_folder:
        importlib.import_module(f"training.{verb}").run(make_config(verb, keys), run_folder)
    return [events.parse(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def sampled(model, tokenizer, prompts, **values):
    values = {"max_new_tokens": 8, "generator": torch.Generator().manual_seed(0), **values}
    forbidden = forbidden_token_ids(model, tokenizer)
    return sample(model, prompts, eos_token_id=tokenizer.eos_token_id, forbidden=forbidden, **values)


def test_a_model_learns_to_stop(miniature, tmp_path):
    """Row 7: if pad was the end-of-text token, the collator masked it and the model never stopped."""
    asked = (Message(role="user", text="list three animals."),)
    line = DemonstrationRecord(
        prompt_key="a", prompt=asked, split="train", completion="cat.", labeler="a", pool="train"
    )  # fmt: skip
    write(tmp_path / DEMONSTRATIONS, [line] * 8)
    keys = {"recipe": "miniature_sft", "data": tmp_path, "init_from": miniature / "base", "epochs": 60}
    run("train_sft", tmp_path / "run", **keys, learning_rate=5e-3)
    model, tokenizer = load_policy(tmp_path / "run" / "checkpoints" / "sft")
    written = sampled(model, tokenizer, [encode_prompt(tokenizer, asked)], temperature=0.0)
    assert written.texts() == [encode_completion(tokenizer, "cat.")]
    assert written.finished.all()


@pytest.mark.parametrize("limit", [1, 2])
def test_no_demonstration_is_without_a_token_to_learn(network, limit):
    """Row 8: assistant masks were all zeros if the template had no generation marker or the turn was cut."""
    _, tokenizer = load_policy(network)
    record = DemonstrationRecord(
        prompt_key="a", prompt=(Message(role="user", text="the cat"),), split="train", completion="the mat",
        labeler="a", pool="train",
    )  # fmt: skip
    ids, mask = encode_demonstration(tokenizer, record, 99, limit, Counter())
    assert sum(mask) == limit and mask[-limit:] == [True] * limit
    assert ids[-limit:] == encode_completion(tokenizer, "the mat")[:limit]


@pytest.mark.parametrize("verb", ["train_sft", "train_reward_model", "train_ppo", "sample_completions"])
def test_nothing_is_cut_or_left_out_in_silence(miniature, tmp_path, verb):
    """Row 9: pairs over the limit vanished silently; a completion cut to nothing gave NaN."""
    data = {"train_sft": "sft", "train_reward_model": "rm"}.get(verb, "ppo")
    short = {"max_prompt_tokens": 40, "max_completion_tokens": 2}
    keys = {"data": miniature / data, "init_from": miniature / "base"}
    if verb == "train_ppo":
        reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=0.6)
        happened = trained(tmp_path / "run", miniature, reward_model, **short, iterations=1)
    else:
        recipe = {"train_sft": "miniature_sft", "train_reward_model": "miniature_reward_model"}
        happened = run(verb, tmp_path / "run", recipe=recipe.get(verb, "miniature_sample"), **keys, **short)
    warned = [event.message.partition(" ")[2] for event in happened if event.kind == "warning"]
    assert "prompts left out: longer than max_prompt_tokens" in warned
    if data != "ppo":
        assert "completions cut at max_completion_tokens (their end-of-text token with them)" in warned
    for event in happened:
        values = event.values if event.kind == "metrics" else event.metrics if event.kind == "checkpoint" else {}
        assert all(abs(value) < float("inf") for value in values.values())


def test_completions_that_are_the_same_once_cut_are_no_pair(networks, tmp_path):
    """Row 9: a pair cut to the same beginning cost ln 2 whatever was learnt."""
    completions = tuple(RankedCompletion(text=f"one two {n}", policy="x", tier=n) for n in (1, 2, 3))
    line = ComparisonRecord(
        prompt_key="p", prompt=(Message(role="user", text="a"),), split="train", labeler="a", pool="train",
        completions=(*completions, RankedCompletion(text="the dog", policy="x", tier=4)),
    )  # fmt: skip
    write(tmp_path / COMPARISONS, [line])
    _, tokenizer = load_policy(networks["qwen2"])
    counts = Counter()
    for limit, pairs in ((3, {(0, 1)}), (99, {(a, b) for a in range(4) for b in range(a + 1, 4)})):
        config = RewardModelConfig(data=tmp_path, max_completion_tokens=limit)
        (ranked,) = read_rankings(config, tokenizer, counts).train
        assert {pair[:2] for pair in ranked.pairs} == pairs
    assert counts[TIES] == 3  # of the first round: three pairs lead to the fourth completion, three to themselves


def test_only_one_module_turns_text_into_tokens():
    """Row 10: trainers put a space before the end-of-text token, or their templates differed between trainers."""
    for path in (ROOT / "training").rglob("*.py"):
        if path.name != "formatting.py":
            assert not re.search(r"apply_chat_template|(?<!_)tokenizer\(", path.read_text()), path.name


def test_what_was_sampled_is_what_is_scored(miniature, tmp_path):
    """Row 11: completions were decoded and encoded again for the reward model, which changed their tokens."""
    policy, tokenizer = load_policy(miniature / "base")
    reward_model, _, _ = load_reward_model(saved_reward_model(miniature, tmp_path, low=0.6))
    config = make_config("train_ppo", settings(miniature, tmp_path, max_completion_tokens=8))
    prompts = [[3, 10 + i] for i in range(16)]
    generator = torch.Generator().manual_seed(1)
    episodes = roll_out(prompts, Networks(policy, policy, reward_model, None, tokenizer), config, generator)
    again = [encode_completion(tokenizer, decode_completion(tokenizer, episodes.completion(i))) for i in range(16)]
    changed = [i for i in range(16) if again[i][: int(episodes.lengths[i])] != episodes.completion(i)]
    assert len(changed) > 2  # an untrained network writes tokens that its tokenizer would not
    for texts, same in ((map(episodes.completion, changed), True), ((again[i] for i in changed), False)):
        sequences = [prompts[i] + ids for i, ids in zip(changed, texts, strict=True)]
        scores = score_sequences(reward_model, sequences, tokenizer.pad_token_id) - 0.25
        assert torch.allclose(scores, episodes.scores[changed], atol=1e-5) == same


def test_the_kl_is_not_bent_by_generation_settings(miniature, tmp_path):
    """Row 12: top_k, min_length and the like in a generation config made the KL to the reference negative."""
    for key in ("top_k", "top_p", "min_length", "min_new_tokens", "repetition_penalty", "no_repeat_ngram_size"):
        with pytest.raises(ValidationError):
            PPOConfig(**{key: 1})
    model, tokenizer = load_policy(miniature / "base")
    plain = sampled(model, tokenizer, [[3, 4]] * 8)
    save_policy(model, tokenizer, tmp_path)
    GenerationConfig(do_sample=True, top_k=1, min_new_tokens=8, repetition_penalty=9.0).save_pretrained(tmp_path)
    again = sampled(*load_policy(tmp_path), [[3, 4]] * 8)
    assert again.texts() == plain.texts() and torch.equal(again.logprobs, plain.logprobs)


def test_rollouts_are_drawn_and_not_the_likeliest_text(miniature):
    """Row 15: one family's rollouts were greedy because do_sample was missing."""
    model, tokenizer = load_policy(miniature / "base")
    model.train()  # as a caller may have left it
    written = sampled(model, tokenizer, [[3, 4]] * 16)
    assert len(set(map(tuple, written.texts()))) == 16
    assert float(-written.logprobs[written.mask].mean()) > 1
    assert model.training


@pytest.mark.parametrize("name", ["gpt2", "neox"])
def test_nothing_in_reinforcement_learning_drops_out(networks, name, tmp_path):
    """Rows 15 and 25: old log-probs were computed in training mode; a critic's head had its own dropout."""
    save_reward_model(*new_reward_model(networks[name]), tmp_path)
    policy, tokenizer = load_policy(networks[name])
    reward_model, _, _ = load_reward_model(tmp_path)
    critic = ValueModel(reward_model)
    ids, mask = pad([[5, 6, 7, 8], [9, 10]], tokenizer.pad_token_id)
    for network in (policy, reward_model, critic):
        network.train()
    for forward in (
        lambda: policy(ids, attention_mask=mask).logits,
        lambda: reward_model(ids, attention_mask=mask).logits,
        lambda: critic(ids, mask, 2),
    ):
        assert torch.equal(forward(), forward())


READER = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
rows = tokenizer.pad({"input_ids": json.load(sys.stdin)}, return_tensors="pt", padding_side="right")
with torch.no_grad():
    print(json.dumps([float(logit) - model.config.score_offset for logit in model(**rows).logits[:, 0]]))
"""


def test_a_trained_reward_model_scores_the_same_in_another_process(miniature, tmp_path):
    """Row 17: the score head was not saved, so a reloaded reward model gave random rewards."""
    keys = {"recipe": "miniature_reward_model", "data": miniature / "rm", "init_from": miniature / "base", "epochs": 1}
    run("train_reward_model", tmp_path, **keys, max_prompt_tokens=256, max_completion_tokens=64)
    place = tmp_path / "checkpoints" / "reward_model"
    model, tokenizer, offset = load_reward_model(place)
    sequences = [
        encode_prompt(tokenizer, record.prompt) + encode_completion(tokenizer, record.completion)
        for record in read(miniature / "rm" / DEMONSTRATIONS, DemonstrationRecord)
        if record.split == "train"
    ]
    scores = score_sequences(model, sequences, tokenizer.pad_token_id) - offset
    # The process that trained it set the offset this way.
    assert offset != 0 and float(scores.mean()) == pytest.approx(0, abs=1e-4)
    elsewhere = subprocess.run(
        [sys.executable, "-c", READER, str(place)], input=json.dumps(sequences), capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    torch.testing.assert_close(torch.tensor(json.loads(elsewhere)), scores, rtol=0, atol=1e-5)


def test_a_state_is_written_as_often_as_asked_and_no_more(miniature, tmp_path):
    """Row 21: a wrong count of steps wrote a checkpoint every other step."""
    reward_model = saved_reward_model(miniature, tmp_path / "reward_model", low=0.6)
    config = make_config("train_ppo", settings(miniature, reward_model, iterations=8, save_every_iterations=3))
    saved = []

    class Watched(RunFolder):
        def save_state(self, state):
            saved.append(state["learner"]["iteration"])

    with Watched(tmp_path / "run") as run_folder:
        importlib.import_module("training.train_ppo").run(config, run_folder)
    assert saved == [3, 6, 8]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_packed_sequences_do_not_see_each_other_whatever_computes_attention(network, attention):
    """Row 22: with packing, sequences saw their neighbours wherever attention did not know the borders."""
    model, tokenizer = load_policy(network)
    model.set_attn_implementation(attention)
    forbidden = forbidden_token_ids(model, tokenizer)
    sequences = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15]]
    positions = torch.cat([torch.arange(len(ids)) for ids in sequences])[None]
    row = torch.tensor([sum(sequences, [])])  # noqa: RUF017
    packed = selected_logprobs(model, row, positions > 0, forbidden, positions=positions)[0]
    ids, mask = pad(sequences, tokenizer.pad_token_id)
    selected = mask.bool() & (torch.arange(ids.shape[1]) > 0)
    apart = selected_logprobs(model, ids, selected, forbidden, mask)
    torch.testing.assert_close(packed[positions[0] > 0], apart[selected], rtol=0, atol=1e-4)


def test_configs_that_once_were_written_are_still_read():
    """Row 24: keys were renamed from release to release; here keys are only added, so known_keys.json only grows."""
    known = json.loads((Path(__file__).parent / "known_keys.json").read_text())
    assert set(known.pop("recipes")) <= set(RECIPES)
    for verb, keys in known.items():
        assert set(keys) <= set(CONFIGS[verb].model_fields), verb


def test_a_score_of_zero_is_a_score(miniature, tmp_path):
    """Row 28: a reward of 0.0 was taken for a missing one."""
    policy, tokenizer = load_policy(miniature / "base")
    reward_model, _, _ = load_reward_model(saved_reward_model(miniature, tmp_path / "reward_model", low=0.6))
    torch.nn.init.zeros_(reward_model.score.weight)
    reward_model.config.score_offset = 0.0
    save_reward_model(reward_model, tokenizer, tmp_path / "zero")
    config = make_config("train_ppo", settings(miniature, tmp_path / "zero", missing_eos_score=0.0))
    generator = torch.Generator().manual_seed(1)
    networks = Networks(policy, policy, reward_model, None, tokenizer)
    episodes = roll_out([[3, 4]] * 8, networks, config, generator)
    episodes.scores += 7.0
    assert torch.equal(scores_of_endings(episodes, config), torch.where(episodes.finished, 7.0, 0.0))
    happened = trained(tmp_path / "ppo", miniature, tmp_path / "zero", iterations=1)
    assert {event.score for event in happened if event.kind == "sample"} == {0.0}
    keys = {"recipe": "miniature_sample", "data": miniature / "ppo", "init_from": miniature / "base"}
    run("sample_completions", tmp_path / "run", **keys, reward_model=tmp_path / "zero", completions_per_prompt=2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "completions.jsonl").read_text().splitlines()]
    assert {line["score"] for line in lines} == {0.0}
    assert len({line["prompt_key"] for line in lines}) == sum(
        1 for _ in read(miniature / "ppo" / PROMPTS, PromptRecord)
    )
