"""Diagnostics of a PPO run: its numbers against a count by hand, the judge next to the score, the alarms."""

import csv
import math
from statistics import fmean

import pytest

from tests.training.ppo.runs import trained
from tests.training.ppo.test_updates import learning
from training.contract.records import PROMPTS, PromptRecord, read
from training.miniature import rubric
from training.ppo.diagnostics import alarms, describe, judged
from training.text.formatting import decode_completion


def test_a_batch_is_described_episode_by_episode(miniature, reward_model):
    _, episodes, *_ = learning(miniature, reward_model)
    episodes.mask[0, 2:] = False
    episodes.logprobs *= episodes.mask
    episodes.reference_logprobs = episodes.logprobs - 0.5 * episodes.mask
    episodes.input_ids[2] = episodes.input_ids[1]
    numbers = describe(episodes)
    lengths = [len(episodes.completion(row)) for row in range(8)]
    assert lengths[0] == 2
    assert numbers["completion_tokens"] == fmean(lengths)
    assert numbers["kl_nats"] == pytest.approx(0.5 * fmean(lengths), abs=1e-5)
    assert numbers["sqrt_kl"] == pytest.approx(math.sqrt(0.5 * fmean(lengths)), abs=1e-5)
    tokens = [-float(episodes.logprobs[row, t]) for row, length in enumerate(lengths) for t in range(length)]
    assert numbers["entropy_nats"] == pytest.approx(fmean(tokens), rel=1e-5)
    assert numbers["eos_rate"] == fmean(episodes.finished.tolist())
    assert numbers["distinct"] == 7 / 8
    scores = episodes.scores.tolist()
    assert numbers["score_std"] == pytest.approx(math.sqrt(fmean((s - fmean(scores)) ** 2 for s in scores)), rel=1e-5)


def test_the_judge_sees_text_and_nothing_learns_from_it(miniature, reward_model, tmp_path):
    learner, episodes, *_ = learning(miniature, reward_model)
    tokenizer = learner.networks.tokenizer
    prompts = [record.prompt[-1].text for record in read(miniature / "ppo" / PROMPTS, PromptRecord)][:8]
    numbers = judged(episodes, prompts, tokenizer)
    judgements = [
        rubric.judge(prompt, decode_completion(tokenizer, episodes.completion(row)))
        for row, prompt in enumerate(prompts)
    ]
    assert numbers["judge_utility"] == fmean(judgement.utility for judgement in judgements)
    assert numbers["judge_solved"] == fmean(judgement.solved for judgement in judgements)

    curves = {}
    for name, judge in (("alone", None), ("judged", "miniature")):
        happened = trained(tmp_path / name, miniature, reward_model, judge=judge)
        curves[name] = [event.values for event in happened if event.kind == "metrics"]
    for alone, beside in zip(*curves.values(), strict=True):
        assert {"ppo/judge_utility", "ppo/judge_solved"} == beside.keys() - alone.keys()
        assert all(beside[key] == value for key, value in alone.items() if key != "ppo/seconds")
    assert "evaluation/judge_utility" in happened[-1].result["policy_ema"]

    with open(tmp_path / "judged" / "over_optimisation.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3]
    for row, values in zip(rows, curves["judged"], strict=True):
        for name in ("kl_nats", "sqrt_kl", "score", "reward", "judge_utility"):
            assert float(row[name]) == values[f"ppo/{name}"]
    assert "judge" not in (tmp_path / "alone" / "over_optimisation.csv").read_text()


CALM = {
    "kl_nats": 2.0, "eos_rate": 0.9, "entropy_nats": 1.0, "completion_tokens": 8.0, "ratio": 1.0, "distinct": 0.9,
    "score": 0.0, "score_std": 1.0, "clip_fraction": 0.1, "explained_variance": -0.2, "pretraining_loss": 1.0,
    "judge_utility": 0.3,
}  # fmt: skip


@pytest.mark.parametrize(
    ("alarm", "numbers"),
    [
        ("kl", {"kl_nats": 60.0}),
        ("negative_kl", {"kl_nats": -1.5}),
        ("eos", {"eos_rate": 0.0}),
        ("entropy", {"entropy_nats": 0.05}),
        ("same", {"distinct": 0.1}),
        ("short", {"completion_tokens": 1.5}),
        ("long", {"completion_tokens": 40.0}),
        ("score", {"score": -2.5}),
        ("ratio", {"ratio": 3.0}),
        ("clip", {"clip_fraction": 0.5}),
        ("mismatch", {"first_minibatch_ratio": 1.1}),
        ("value", {"explained_variance": -0.9}),
        ("pretraining", {"pretraining_loss": 1.2}),
        ("judge", {"judge_utility": 0.1, "score": 1.0}),
    ],
)
def test_each_failure_shape_has_its_alarm(alarm, numbers):
    assert alarms(CALM, CALM) == {}
    assert list(alarms({**CALM, **numbers}, CALM)) == [alarm]


def test_a_run_without_critic_text_or_judge_sounds_no_alarm_for_want_of_them():
    fewer = {name: CALM[name] for name in ("kl_nats", "eos_rate", "entropy_nats", "completion_tokens", "score")}
    assert alarms({**fewer, "score": -9.0}, fewer) == {}


def test_an_alarm_sounds_once(miniature, reward_model, tmp_path):
    """At a learning rate that breaks the policy its first updates are reported, and reported once."""
    broken = {"iterations": 6, "epochs": 4, "policy_learning_rate": 1.0, "warmup_iterations": 1}
    happened = trained(tmp_path, miniature, reward_model, **broken, stop_at_kl_nats=None, gamma=0.0)
    warnings = [event.message.partition(": ")[2] for event in happened if event.kind == "warning"]
    assert warnings and len(warnings) == len(set(warnings))
    assert any("updates are too large" in message for message in warnings)
