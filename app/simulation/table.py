"""A simulation's report for people: every figure with its 95 % interval and its sample size."""

from collections.abc import Mapping

from app.simulation.loop import Report, RoundReport, agreement_line


def lines(report: Report) -> list[str]:
    """Return the lines of the whole table."""
    return [
        f"seed {report.seed}, {report.labelers} simulated labelers",
        *(line for round in report.rounds for line in _round(round)),
        *_evaluation(report.evaluation),
    ]


def _round(round: RoundReport) -> list[str]:
    accuracy, ppo = round.reward_model, round.ppo
    return [
        "",
        f"round {round.round}: {round.demonstrations} demonstrations, {round.comparisons} comparisons "
        f"({round.by_held_out_labelers} by held-out labelers)",
        f"  {agreement_line(round)} (noise scale {round.noise:.3f})",
        f"  reward model: {_accuracy(accuracy, 'validation')} on held-out comparisons, "
        f"{_accuracy(accuracy, 'held_out_labelers')} on held-out labelers",
        f"  PPO: KL {_figure(ppo, 'kl_nats', '.2f')} nats, mean score {_figure(ppo, 'score', '.3f')} "
        f"(before: {_figure(ppo, 'start_score', '.3f')}){_of(ppo, 'prompts', 'validation prompts')}",
    ]


def _figure(numbers: Mapping[str, float], name: str, form: str = ".1%") -> str:
    """Format a number, with the bounds of its interval if it has one."""
    if name not in numbers:
        return "not measured"
    ends = [format(numbers[name + end], form) for end in ("_low", "_high") if name + end in numbers]
    return format(numbers[name], form) + (f" [{', '.join(ends)}]" if ends else "")


def _of(numbers: Mapping[str, float], name: str, what: str) -> str:
    return f", {numbers[name]:.0f} {what}" if name in numbers else ""


def _accuracy(metrics: Mapping[str, float], name: str) -> str:
    key = f"accuracy/{name}"
    pairs, prompts = _of(metrics, f"{key}_pairs", "pairs"), _of(metrics, f"{key}_prompts", "prompts")
    return _figure(metrics, key) + (f" ({(pairs + prompts).removeprefix(', ')})" if pairs + prompts else "")


def _evaluation(evaluation: dict) -> list[str]:
    policies = evaluation["policies"]
    prompts: dict[str, int] = {}
    for one in policies.values():
        prompts |= {family: found["prompts"] for family, found in one["families"].items()}
    rows = [("", "prompts", list(policies))]
    for family, count in sorted(prompts.items()):
        cells = [_figure(one["families"].get(family, {}), "solved", ".0%") for one in policies.values()]
        rows.append((family, str(count), cells))
    rows.append(("all", str(evaluation["prompts"]), [_figure(one, "solved") for one in policies.values()]))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    wide = max(len(cell) for _, _, cells in rows for cell in cells) + 2
    wins = [
        f"  {row['policy']} wins {row['win_rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}] against {row['against']}, "
        f"{row['prompts']} prompts"
        for row in evaluation["win_rates"]
    ]
    return [
        "",
        "share of held-out prompts solved:",
        *(
            f"  {name:<{first}}{count:>{second + 2}}" + "".join(f"{c:>{wide}}" for c in cells)
            for name, count, cells in rows
        ),
        "",
        "the hidden rubric's verdict:",
        *wins,
    ]
