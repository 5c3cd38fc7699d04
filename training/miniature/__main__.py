"""Write snapshots of the miniature world: `python -m training.miniature FOLDER` makes FOLDER/{sft,rm,ppo}."""

import argparse
import hashlib
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from training.contract import records
from training.contract.records import COMPARISONS, DEMONSTRATIONS, PROMPTS, Pool, Purpose, Split
from training.miniature.rubric import judge, rating
from training.miniature.world import Task, demonstration, flawed, split, tasks

K = 6
TIE = 0.1  # noisy utilities closer than this share a tier
LABELER = "simulated-rubric"


def prompt_fields(task: Task) -> dict:
    """Return the fields of a PromptRecord for a task; its key is a hash of its text."""
    return {
        "prompt_key": hashlib.sha256(task.prompt.encode()).hexdigest()[:16],
        "prompt": (records.Message(role="user", text=task.prompt),),
        "split": split(task.prompt),
        "use_case": task.use_case,
    }


def demonstrate(task: Task, seed: int) -> records.DemonstrationRecord:
    """Return the task with a good completion."""
    return records.DemonstrationRecord(
        **prompt_fields(task), completion=demonstration(task.prompt, seed), labeler=LABELER, pool=Pool.TRAIN
    )


def candidates(prompt: str, seed: int) -> list[tuple[str, str]]:
    """Return up to K distinct (text, policy), one to three of them good, in random order."""
    rng = random.Random(f"candidates {seed} {prompt}")
    good = rng.randint(1, 3)
    texts: dict[str, str] = {}
    for attempt in range(3 * K):
        careful = sum(policy == "careful" for policy in texts.values()) < good and attempt < K
        text = (demonstration if careful else flawed)(prompt, seed * 1000 + attempt)
        if text and len(texts) < K:
            texts.setdefault(text, "careful" if careful else "careless")
    return rng.sample(list(texts.items()), len(texts))


def compare(
    task: Task, seed: int, noise: float, shown: list[tuple[str, str]] | None = None
) -> records.ComparisonRecord:
    """Rank some (text, policy), by default `candidates`, by utility plus Gaussian noise; near ones are tied."""
    rng = random.Random(f"compare {seed} {task.prompt}")
    shown = shown or candidates(task.prompt, seed)
    judged = [judge(task.prompt, text) for text, _ in shown]
    felt = [judgement.utility + rng.gauss(0, noise) for judgement in judged]
    tiers, tier, last = [0] * len(shown), 0, float("inf")
    for index in sorted(range(len(shown)), key=lambda index: -felt[index]):
        if last - felt[index] > TIE:
            tier, last = tier + 1, felt[index]
        tiers[index] = tier
    return records.ComparisonRecord(
        **prompt_fields(task),
        labeler=LABELER,
        pool=Pool.TRAIN,
        completions=tuple(
            records.RankedCompletion(
                text=text,
                policy=policy,
                tier=tiers[index],
                rating=rating(felt[index]),
                flags=judged[index].flags,
                shown_position=index,
            )
            for index, (text, policy) in enumerate(shown)
        ),
    )


def write_snapshots(
    folder: Path, *, seed: int, demonstrations: int, comparisons: int, prompts: int, noise: float
) -> dict[Purpose, records.Manifest]:
    """Write folder/{sft,rm,ppo}; a tenth as many validation lines follow the train lines of each file."""

    def drawn(stream: int, count: int) -> list[Task]:
        # One seed per stream, so that each purpose has prompts of its own.
        return tasks(seed * 10 + stream, count, only=Split.TRAIN) + tasks(
            seed * 10 + stream, max(1, count // 10), only=Split.VALIDATION
        )

    written = [demonstrate(task, seed) for task in drawn(1, demonstrations)]
    data: dict[Purpose, dict[str, Sequence[records.Record]]] = {
        Purpose.SFT: {DEMONSTRATIONS: written},
        Purpose.RM: {
            COMPARISONS: [compare(task, seed, noise) for task in drawn(2, comparisons)],
            DEMONSTRATIONS: written,
        },
        Purpose.PPO: {PROMPTS: [records.PromptRecord(**prompt_fields(task)) for task in drawn(3, prompts)]},
    }
    made_from = {"source": "miniature", "seed": seed, "noise": noise}
    return {
        purpose: records.write_snapshot(folder / purpose, purpose, files, filter=made_from)
        for purpose, files in data.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.miniature", description=__doc__)
    parser.add_argument("folder", type=Path, help="where sft/, rm/ and ppo/ are made")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--demonstrations", type=int, default=300)
    parser.add_argument("--comparisons", type=int, default=1000, help=f"rankings of up to {K} completions each")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.3, help="standard deviation added to a labeler's utilities")
    options = vars(parser.parse_args(arguments))
    folder = options.pop("folder")
    for purpose in Purpose:
        if (folder / purpose).exists():
            print(f"folder: {folder / purpose} exists already; name another folder or remove it", file=sys.stderr)
            return 1
    for purpose, manifest in write_snapshots(folder, **options).items():
        lines = ", ".join(f"{file.lines} {file.name.removesuffix('.jsonl')}" for file in manifest.files)
        print(f"{folder / purpose}: {lines}, sha256 {manifest.content_sha256[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
