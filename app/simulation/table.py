"""A simulation's report for people."""

from app.simulation.loop import Report, RoundReport, percent


def lines(report: Report) -> list[str]:
    """The whole table."""
    return [
        f"seed {report.seed}, {report.labelers} simulated labelers",
        *(line for round in report.rounds for line in _round(round)),
        *_evaluation(report.evaluation),
    ]


def _round(round: RoundReport) -> list[str]:
    accuracy = round.reward_model
    ppo = round.ppo
    return [
        "",
        f"round {round.round}: {round.demonstrations} demonstrations, {round.comparisons} comparisons "
        f"({round.by_held_out_labelers} by held-out labelers)",
        f"  labelers agree in {percent(round.agreement)} of {round.agreement_pairs} pairs that neither ties "
        f"(noise scale {round.noise:.3f})",
        f"  reward model: {_accuracy(accuracy, 'validation')} on held-out comparisons, "
        f"{_accuracy(accuracy, 'held_out_labelers')} on held-out labelers",
        f"  PPO: KL {ppo.get('kl_nats', 0.0):.2f} nats, mean score {ppo.get('score', 0.0):.3f} "
        f"(before: {ppo.get('start_score', 0.0):.3f})",
    ]


def _accuracy(metrics: dict[str, float], name: str) -> str:
    if f"accuracy/{name}" not in metrics:
        return "not measured"
    share, low, high = (metrics[f"accuracy/{name}{end}"] for end in ("", "_low", "_high"))
    return f"{share:.1%} [{low:.1%}, {high:.1%}]"


def _evaluation(evaluation: dict) -> list[str]:
    policies = evaluation["policies"]
    families = sorted({family for one in policies.values() for family in one["solved_by_family"]})
    width = max(map(len, ["all", *families]))
    head = "".join(f"{name:>8}" for name in policies)
    table = [f"  {'':<{width}}{head}"]
    for family in families:
        cells = "".join(f"{one['solved_by_family'].get(family, 0.0):>8.1%}" for one in policies.values())
        table.append(f"  {family:<{width}}{cells}")
    table.append(f"  {'all':<{width}}" + "".join(f"{one['solved']:>8.1%}" for one in policies.values()))
    wins = [
        f"  {row['policy']} wins {row['win_rate']:.1%} [{row['low']:.1%}, {row['high']:.1%}] against {row['against']}"
        for row in evaluation["win_rates"]
    ]
    return [
        "",
        f"solved, of {evaluation['prompts']} held-out prompts:",
        *table,
        "",
        "the hidden rubric's verdict:",
        *wins,
    ]
