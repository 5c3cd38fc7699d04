"""Cross-validation of reward models on unseen labelers: one model per group of labelers and seed [InstructGPT E.2]."""

import shutil
from collections.abc import Sequence
from math import hypot
from statistics import fmean, stdev
from typing import Any

from training import train_reward_model
from training.contract.configs import CrossValidateConfig, RewardModelConfig
from training.contract.events import Finished, Progress, Started, Warned, last
from training.contract.intervals import grouped, mean, sure_share
from training.run.command import main
from training.run.run_folder import RunFolder

RESUMABLE = True
KINDS = {"accuracy/validation": "labelers trained on", "accuracy/held_out_labelers": "held-out labelers"}


def run(config: CrossValidateConfig, run_folder: RunFolder) -> None:
    """Train and measure every reward model in folds/, keep only the measurements, write report.json."""
    total = config.seeds * config.folds
    run_folder.report(Started(verb=config.verb, total_steps=total))
    values = config.model_dump(exclude={"recipe", "seed", "seeds", "fold"})
    measured, right = [], []
    for number in range(total):
        seed, fold = config.seed + number // config.folds, number % config.folds
        with RunFolder(run_folder.path / "folds" / f"seed-{seed}-fold-{fold}") as one:
            # A request to stop a fold stops the whole run.
            one.checkpoint_stop = run_folder.checkpoint_stop  # type: ignore[method-assign]
            if not _is_measured(one, run_folder):
                train_reward_model.run(RewardModelConfig(**values, seed=seed, fold=fold), one)
                for folder in ("checkpoints", "state"):
                    shutil.rmtree(one.path / folder)
            finished = last(one.path / "events.jsonl")
        assert isinstance(finished, Finished)  # its last event, as it was just trained or is measured
        accuracies = {key: value for key in KINDS if isinstance(value := finished.result.get(key), float)}
        missing = [what for key, what in KINDS.items() if key not in accuracies]
        if missing:
            raise ValueError(
                f"data: fold {fold} has no unseen prompt ranked by {missing[0]}; lower folds or collect more rankings"
            )
        measured.append({"seed": seed, "fold": fold, **accuracies})
        right.append(one.read_json(train_reward_model.RIGHT))
        run_folder.report(Progress(step=number + 1, total_steps=total, note=f"seed {seed}, fold {fold} measured"))
    folds = [one["fold"] for one in measured]
    report: dict[str, Any] = {"models": measured}
    for key, what in KINDS.items():
        by_model = [one[key.removeprefix("accuracy/")] for one in right]
        report[key] = found = spread([one[key] for one in measured], folds, by_model)
        shown = f"{found['mean']:.1%} +- {found['standard_error']:.1%} [{found['low']:.1%}, {found['high']:.1%}]"
        print(f"{what:20} {shown} on {found['prompts']} prompts")
    run_folder.write_json("report.json", report)
    names = {"": "mean", "_error": "standard_error", "_low": "low", "_high": "high", "_prompts": "prompts"}
    run_folder.report(Finished(result={f"{key}{name}": report[key][of] for key in KINDS for name, of in names.items()}))


def _is_measured(one: RunFolder, run_folder: RunFolder) -> bool:
    """Return whether a reward model's run finished with readable results; if not, it is trained again, identically."""
    try:
        return one.is_finished() and one.read_json(train_reward_model.RIGHT) is not None
    except ValueError:
        message = f"{one.path / train_reward_model.RIGHT}: cannot be read; this reward model is trained again"
        run_folder.report(Warned(message=message))
        return False


def spread(accuracies: list[float], folds: Sequence[float], right: list[dict[str, list[float]]]) -> dict[str, Any]:
    """Return mean and standard deviation over models, standard error over labeler groups, and a 95 % interval.

    `right` holds, model by model, the pairs_right of each prompt. Models of one group differ only in their seed, and
    several are measured on one prompt: the errors of groups and of prompts add up as independent errors.
    """
    of_groups = [fmean(group) for group in grouped(accuracies, folds)]
    values = [(value, key) for of_model in right for key in of_model for value in of_model[key]]
    by_group, by_prompt = mean([of] for of in of_groups), sure_share(grouped(*zip(*values, strict=True)))
    low, high = (
        hypot(*(getattr(found, end) - found.value for found in (by_group, by_prompt))) for end in ("low", "high")
    )
    return {
        "mean": fmean(accuracies),
        "deviation": stdev(accuracies),
        "standard_error": stdev(of_groups) / len(of_groups) ** 0.5,
        "low": max(0.0, by_group.value - low),
        "high": min(1.0, by_group.value + high),
        "prompts": by_prompt.clusters,
    }


if __name__ == "__main__":
    main("cross_validate")
