"""Does a reward model carry over to labelers it never saw? One per group of labelers and seed [InstructGPT E.2]."""

import json
import shutil
from statistics import fmean, stdev
from typing import Any

from training import train_reward_model
from training.command import main
from training.configs import CrossValidateConfig, RewardModelConfig
from training.events import Finished, Progress, Started, last
from training.run_folder import RunFolder

RESUMABLE = True
KINDS = {"accuracy/validation": "labelers trained on", "accuracy/held_out_labelers": "held-out labelers"}


def run(config: CrossValidateConfig, run_folder: RunFolder) -> None:
    """Train and measure every reward model in folds/, keep only what was measured, write report.json."""
    total = config.seeds * config.folds
    run_folder.report(Started(verb=config.verb, total_steps=total))
    values = config.model_dump(exclude={"recipe", "seed", "seeds", "fold"})
    measured = []
    for number in range(total):
        seed, fold = config.seed + number // config.folds, number % config.folds
        with RunFolder(run_folder.path / "folds" / f"seed-{seed}-fold-{fold}") as one:
            one.checkpoint_stop = run_folder.checkpoint_stop  # whoever is asked to stop, it is this run that stops
            if not one.is_finished():
                train_reward_model.run(RewardModelConfig(**values, seed=seed, fold=fold), one)
                for folder in ("checkpoints", "state"):
                    shutil.rmtree(one.path / folder)
            result = last(one.path / "events.jsonl").result
        missing = [what for key, what in KINDS.items() if key not in result]
        if missing:
            raise ValueError(
                f"data: fold {fold} has no unseen prompt ranked by {missing[0]}; lower folds or collect more rankings"
            )
        measured.append({"seed": seed, "fold": fold, **{key: result[key] for key in KINDS}})
        run_folder.report(Progress(step=number + 1, total_steps=total, note=f"seed {seed}, fold {fold} measured"))
    report = {"models": measured, **{key: _spread([one[key] for one in measured]) for key in KINDS}}
    run_folder.write_text("report.json", json.dumps(report, indent=2) + "\n")
    for key, what in KINDS.items():
        print(f"{what:20} {report[key]['mean']:.1%} +- {report[key]['standard_error']:.1%}")
    result = {
        f"{key}{name}": report[key][of] for key in KINDS for name, of in (("", "mean"), ("_error", "standard_error"))
    }
    run_folder.report(Finished(result=result))


def _spread(values: list[float]) -> dict[str, Any]:
    """Mean, standard deviation and standard error over the models."""
    deviation = stdev(values)
    return {"mean": fmean(values), "deviation": deviation, "standard_error": deviation / len(values) ** 0.5}


if __name__ == "__main__":
    main("cross_validate")
