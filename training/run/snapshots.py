"""A snapshot's records, checked against the counts in its manifest."""

from collections import Counter
from pathlib import Path
from typing import TypeVar

from training.contract.events import DataRead
from training.contract.records import Manifest, PromptRecord, Use, read
from training.run.run_folder import RunFolder

R = TypeVar("R", bound=PromptRecord)


def load(folder: Path, name: str, record: type[R], run_folder: RunFolder | None = None) -> list[R]:
    """Return the records of a snapshot's file `name` and report how many there are of each use.

    Raise ValueError if the manifest's counts differ: then the data is not what was frozen.
    """
    records = list(read(folder / name, record))
    uses = Counter(one.use for one in records)
    manifest = folder / "manifest.json"
    if manifest.exists():
        promised = Manifest.model_validate_json(manifest.read_bytes()).uses.get(name.removesuffix(".jsonl"))
        if promised is not None and +Counter(promised) != uses:
            raise ValueError(
                f"data: {folder / name} holds {_words(uses)}, but its manifest counts {_words(Counter(promised))}; "
                "the file was changed after it was frozen: freeze the data again"
            )
    if run_folder is not None:
        run_folder.report(DataRead(file=name, uses=dict(uses)))
    return records


def _words(uses: Counter[Use]) -> str:
    return ", ".join(f"{uses[use]} {use}" for use in Use if uses[use]) or "nothing"
