"""What a simulation prints: every figure has its interval and its n, and what was not measured is not a number."""

from app.simulation.loop import Report, RoundReport
from app.simulation.table import lines

EVALUATION = {
    "prompts": 12,
    "policies": {
        "base": {
            "solved": 0.0, "solved_low": 0.0, "solved_high": 0.22, "solved_by_family": {"list": 0.0},
            "families": {
                "list": {"solved": 0.0, "solved_low": 0.0, "solved_high": 0.39, "prompts": 6, "completions": 6},
            },
        },
        "sft": {
            "solved": 0.5, "solved_low": 0.24, "solved_high": 0.76, "solved_by_family": {"list": 0.5, "words": 0.5},
            "families": {
                "list": {"solved": 0.5, "solved_low": 0.15, "solved_high": 0.85, "prompts": 6, "completions": 6},
                "words": {"solved": 0.5, "solved_low": 0.15, "solved_high": 0.85, "prompts": 6, "completions": 6},
            },
        },
    },
    "win_rates": [{"policy": "sft", "against": "base", "win_rate": 1.0, "low": 0.78, "high": 1.0, "prompts": 12}],
}  # fmt: skip


def printed(round):
    return [" ".join(line.split()) for line in lines(Report(1, 4, [round], EVALUATION))]


def test_every_figure_has_its_interval_and_its_n():
    accuracy = {
        f"accuracy/validation{end}": value
        for end, value in (("", 0.6), ("_low", 0.51), ("_high", 0.68), ("_pairs", 90.0), ("_prompts", 20.0))
    }
    ppo = {"kl_nats": 1.2, "kl_nats_low": 1.0, "kl_nats_high": 1.4, "score": 0.5, "start_score": -0.25, "prompts": 16.0}
    shown = printed(RoundReport(1, 32, 64, 8, 0.73, 520, 0.4, 0.61, 0.83, 6, accuracy, ppo))
    assert "labelers agree on 73.0% [61.0%, 83.0%] of 520 pairs without ties, from 6 items (noise scale 0.400)" in shown
    assert (
        "reward model: 60.0% [51.0%, 68.0%] (90 pairs, 20 prompts) on held-out comparisons, "
        "not measured on held-out labelers"
    ) in shown
    assert "PPO: KL 1.20 [1.00, 1.40] nats, mean score 0.500 (before: -0.250), 16 validation prompts" in shown
    assert "all 12 0.0% [0.0%, 22.0%] 50.0% [24.0%, 76.0%]" in shown
    assert "sft wins 100.0% [78.0%, 100.0%] against base, 12 prompts" in shown


def test_what_was_not_measured_is_not_zero():
    shown = printed(RoundReport(1, 32, 0, 0, None, 0, 0.4))
    assert "words 6 not measured 50% [15%, 85%]" in shown
    assert any(line.startswith("labelers agree: not measured") for line in shown)
    assert "PPO: KL not measured nats, mean score not measured (before: not measured)" in shown
