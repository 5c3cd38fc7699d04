"""Learning curves of SFT, reward model, PPO and PPO-ptx in the miniature world, with sweeps of gamma and beta.

    python -m tests.benchmarks.learning_curves FOLDER [--seeds 3] [--size short]

Every run lies in FOLDER and a finished one is not done again, so the command may be stopped and given anew. A seed
is about an hour and a half of one core; short has fewer iterations of PPO and fewer points, quick shows in minutes
that the parts fit, and nothing about learning. The tables are printed and written to FOLDER/curves.json; each PPO run
leaves its over_optimisation.csv.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from app.config import ROOT
from training.contract import events
from training.contract.records import (
    COMPARISONS,
    DEMONSTRATIONS,
    PROMPTS,
    SAMPLED_COMPLETIONS,
    DemonstrationRecord,
    PromptRecord,
    Purpose,
    SampledCompletion,
    read,
    write_snapshot,
)
from training.miniature import world
from training.miniature.__main__ import K, compare, write_snapshots

FULL: dict[str, Any] = {
    "gammas": (0.0, 0.03, 0.3, 1.0, 3.0), "betas": (0.0, 0.02, 0.1, 0.5, 2.0),
    "demonstrations": 300, "rankings": 4000, "prompts": 1000, "tests": 480, "best_of": 16, "text_words": 20_000,
    "base": {}, "sft": {}, "ppo": {},
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "full": FULL,
    "short": {
        **FULL, "gammas": (0.0, 0.3, 1.0, 3.0), "betas": (0.0, 0.1, 0.5, 2.0), "tests": 320, "best_of": 8,
        "ppo": {"iterations": 50},
    },
    "quick": {
        "gammas": (0.0, 0.3), "betas": (0.0, 0.1),
        "demonstrations": 20, "rankings": 16, "prompts": 16, "tests": 16, "best_of": 4, "text_words": 500,
        "base": {"corpus_words": 20_000, "hidden_size": 32, "intermediate_size": 64, "layers": 1, "vocab_size": 400},
        "sft": {"epochs": 1},
        "ppo": {"iterations": 2, "batch_size": 8, "minibatch_size": 4, "evaluation_episodes": 8},
    },
}  # fmt: skip
NOISE = 0.3  # standard deviation of what a labeler adds to a utility


def main() -> None:
    """Do what is not done yet, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.learning_curves", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--size", choices=SIZES, default="full", help="quick: whether the parts fit together")
    options = parser.parse_args()
    place, size = options.folder.absolute(), SIZES[options.size]
    rows = [row for seed in range(options.seeds) for row in _Seed(place, seed, size).curves()]
    (options.folder / "curves.json").write_text(json.dumps(rows, indent=1) + "\n")
    for title, part in _by_title(rows).items():
        print(f"\n{title}")
        columns = [name for name in part[0] if name != "title"]
        print("  ".join(f"{name:>14}" for name in columns))
        for row in part:
            print("  ".join(f"{_shown(row.get(name)):>14}" for name in columns))


class _Seed:
    """All runs of one seed."""

    def __init__(self, folder: Path, seed: int, size: dict[str, Any]) -> None:
        self.folder, self.seed, self.size = folder / f"seed{seed}", seed, size

    def run(self, name: str, verb: str, recipe: str, **keys: Any) -> Path:
        """A run's folder, finished; what is done already is not done again."""
        folder = self.folder / "runs" / name
        config = self.folder / "configs" / f"{name}.json"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(json.dumps({"recipe": recipe, "seed": self.seed, **keys}, default=str))
        print(f"seed {self.seed}: {name}", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", f"training.{verb}", str(config), "--run-folder", str(folder), "--resume"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        return folder

    def curves(self) -> list[dict[str, Any]]:
        """Rows of all tables."""
        data, size = self.folder / "data", self.size
        if not data.exists():
            counts = {"demonstrations": size["demonstrations"], "comparisons": 2, "prompts": size["prompts"]}
            write_snapshots(data, seed=self.seed, noise=NOISE, **counts)
            text = "\n\n".join(world.corpus(1000 + self.seed, size["text_words"]))
            (data / "held_out.txt").write_text(text, encoding="utf-8")
        cache = self.folder.parent / "base-networks"
        base = self.run("base", "train_base", "miniature_base", cache=cache, **size["base"]) / "checkpoints" / "base"
        learn = {"data": data / Purpose.SFT, "init_from": base, **size["sft"]}
        sft = self.run("sft", "train_sft", "miniature_sft", **learn) / "checkpoints" / "sft"
        start = self.run("start", "train_sft", "miniature_sft_for_ppo", **learn) / "checkpoints" / "sft"
        rankings = self.rankings({"sft": sft, "start": start})
        made = self.run("reward_model", "train_reward_model", "miniature_reward_model", data=rankings, init_from=sft)
        reward_model = made / "checkpoints" / "reward_model"
        dpo = self.run("dpo", "train_dpo", "miniature_dpo", data=rankings, init_from=start)
        scored = self.run("sft-scored", "train_sft", "miniature_sft", **learn, reward_model=reward_model)

        ppo = {
            "data": data / Purpose.PPO, "init_from": start, "reward_model": reward_model, "judge": "miniature",
            "stop_at_kl_nats": None, "allow_weak_reward_model": True, **size["ppo"],
        }  # fmt: skip
        policies = {"base": base, "sft": sft, "start": start, "dpo": dpo / "checkpoints" / "policy"}
        policies["sft by score"] = scored / "checkpoints" / "sft"
        if (scored / "checkpoints" / "sft_by_loss").exists():
            policies["sft by loss"] = scored / "checkpoints" / "sft_by_loss"
        sweeps: dict[str, dict[str, Path]] = defaultdict(dict)

        def swept(sweep: str, **keys: Any) -> None:
            name = ",".join(f"{key}={keys[key]}" for key in ("gamma", "beta"))
            name += ",base" if "continue_from" in keys else ""
            sweeps[sweep][name] = self.run(name, "train_ppo", "miniature_ppo_ptx", **{**ppo, **keys})

        for gamma in size["gammas"]:
            swept("gamma", gamma=gamma, beta=0.1)
        for beta in size["betas"]:
            swept("beta, reference SFT", gamma=0.0, beta=beta)
            if beta > 0:  # else the reference decides nothing
                swept("beta, reference base", gamma=0.0, beta=beta, init_from=base, continue_from=start)
        few = {"samples_per_prompt": 4, "gamma": 0.0}
        sweeps["no critic"]["rloo"] = self.run("rloo", "train_ppo", "miniature_rloo", **{**ppo, **few})
        runs = {name: folder for sweep in sweeps.values() for name, folder in sweep.items()}
        policies |= {name: folder / _result(folder)["checkpoint"] for name, folder in runs.items()}
        report = self.evaluation(policies, data / "held_out.txt", reward_model)
        return [
            *self.training(made, dpo),
            *({"title": "epochs of SFT", "seed": self.seed, **row} for row in _epochs(scored)),
            *({"title": "networks", "seed": self.seed, "network": name, **_row(report, name)} for name in policies),
            *(
                {"title": title, "seed": self.seed, "run": name, **_start_and_end(folder), **_row(report, name)}
                for title, sweep in sweeps.items()
                for name, folder in sweep.items()
            ),
            *self.best_of(start, reward_model),
        ]

    def rankings(self, policies: dict[str, Path]) -> Path:
        """A snapshot of rankings of what the policies sample, by the rubric with noise."""
        place = self.folder / "rankings"
        if (place / "manifest.json").exists():
            return place
        count = self.size["rankings"]
        tasks = {task.prompt: task for task in world.tasks(self.seed * 10 + 7, count + count // 10)}
        prompts = self.folder / "asked"
        data = {PROMPTS: [self._prompt(task) for task in tasks.values()]}
        if not (prompts / "manifest.json").exists():
            write_snapshot(prompts, Purpose.PPO, data)
        texts: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for (name, path), number in zip(policies.items(), (K - 2, 2), strict=True):
            sampled = self.run(
                f"sample-{name}", "sample_completions", "miniature_sample", data=prompts, init_from=path,
                completions_per_prompt=number,
            )  # fmt: skip
            for line in read(sampled / SAMPLED_COMPLETIONS, SampledCompletion):
                if line.text not in [text for text, _ in texts[line.prompt_key]]:
                    texts[line.prompt_key].append((line.text, name))
        records = [
            compare(tasks[record.prompt[-1].text], self.seed, NOISE, texts[record.prompt_key])
            for record in data[PROMPTS]
            if len(texts[record.prompt_key]) >= 2
        ]
        written = list(read(self.folder / "data" / Purpose.SFT / DEMONSTRATIONS, DemonstrationRecord))
        write_snapshot(place, Purpose.RM, {COMPARISONS: records, DEMONSTRATIONS: written})
        return place

    def _prompt(self, task: world.Task) -> PromptRecord:
        record = compare(task, self.seed, NOISE)
        return PromptRecord(**{key: getattr(record, key) for key in PromptRecord.model_fields})

    def evaluation(self, policies: dict[str, Path], text: Path, reward_model: Path) -> dict[str, Any]:
        """What every policy does on test prompts, its KL from PPO's start, and its loss on text that none has seen."""
        folder = self.run(
            "evaluation", "evaluate", "miniature_evaluate", policies=policies, reference="start", text=text,
            reward_model=reward_model, prompts=self.size["tests"],
        )  # fmt: skip
        return json.loads((folder / "report.json").read_text())["policies"]

    def training(self, *folders: Path) -> list[dict[str, Any]]:
        """Accuracy on unseen rankings, of the reward model's scores and of those that DPO implies."""
        rows = []
        for folder in folders:
            result = _result(folder)
            ends = ("", "_low", "_high", "_pairs")
            measured = {f"accuracy{end}": result.get(f"accuracy/validation{end}") for end in ends}
            rows.append({"title": "unseen rankings", "seed": self.seed, "run": folder.name, **measured})
        return rows

    def best_of(self, start: Path, reward_model: Path) -> list[dict[str, Any]]:
        """The curve of best-of-n from PPO's start."""
        folder = self.run(
            "best-of", "evaluate", "miniature_evaluate", policies={"start": start}, reward_model=reward_model,
            prompts=self.size["tests"], completions_per_prompt=self.size["best_of"],
        )  # fmt: skip
        rows = json.loads((folder / "report.json").read_text())["policies"]["start"]["best_of"]
        return [{"title": "best of n", "seed": self.seed, **row} for row in rows]


def _result(folder: Path) -> dict[str, Any]:
    finished = events.last(folder / "events.jsonl")
    assert isinstance(finished, events.Finished)
    return finished.result


def _epochs(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "report.json").read_text())["epochs"]


def _start_and_end(folder: Path) -> dict[str, float]:
    """KL 0 and ratio 1 in the first iteration; score, judge and KL there and in the last."""
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    metrics = [event.values for event in map(events.parse, lines) if isinstance(event, events.Metrics)]
    first, last = metrics[0], metrics[-1]
    row = {"ratio at first": first["ppo/first_minibatch_ratio"]}
    for name in ("kl_nats", "score", "judge_utility"):
        row |= {f"{name} {end}": values[f"ppo/{name}"] for end, values in (("first", first), ("last", last))}
    return row


def _row(report: dict[str, Any], name: str) -> dict[str, Any]:
    keys = (
        "kl_nats",
        "mean_score",
        "mean_utility",
        "solved",
        "solved_low",
        "solved_high",
        "text_loss_nats",
        "mean_tokens",
    )
    return {f"test {key}": report[name].get(key) for key in keys}


def _by_title(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        parts[row["title"]].append(row)
    return parts


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value if value is not None else "–")


if __name__ == "__main__":
    main()
