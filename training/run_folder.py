"""The folder of one run: config.json, events.jsonl, checkpoints/<name>/ and state/; locked by its one owner.

Of a run in several processes the first is the owner; what the others report or save goes nowhere.

Every file and checkpoint is written beside its place, synced and renamed, so a kill at any moment leaves the old one or
the new one, never half of one.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from training import parallel
from training.events import CheckpointSaved, DataRead, Event, Finished, Warned, last


class Stopped(Exception):
    """The run was asked to stop and has written a state from which it can go on."""


class RunFolder:
    """One run's folder, owned by the run's first process until `close`."""

    def __init__(self, path: Path) -> None:
        """Make or open the folder and take its lock; raises ValueError if another process holds it."""
        self.path = Path(path).absolute()
        self.stop_requested = False
        self._has_started, self._read_before = False, []
        self.is_owned = parallel.is_first()
        if not self.is_owned:
            return
        for folder in ("checkpoints", "state"):
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / ".lock", "w")  # noqa: SIM115 -- held for the life of the run
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ValueError(f"{self.path}: another process is running in this run folder") from None
        _clear_leftovers(self.path)
        _cut_half_line(self.path / "events.jsonl")
        self._events = open(self.path / "events.jsonl", "ab", buffering=0)  # noqa: SIM115

    def close(self) -> None:
        """Give the folder back."""
        if self.is_owned:
            self._events.close()
            self._lock.close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self, event: Event) -> None:
        """Append one event, at once visible to whoever follows the file."""
        if not self.is_owned:
            return
        if isinstance(event, DataRead) and not self._has_started:  # data is read first, and `Started` comes first
            self._read_before.append(event)
            return
        self._has_started = True
        for each in (event, *self._read_before):
            self._events.write(each.model_dump_json().encode() + b"\n")
        self._read_before.clear()

    def warn_counts(self, counts: dict[str, int]) -> None:
        """Report what was cut or left out, one Warned each."""
        for what, count in counts.items():
            self.report(Warned(message=f"{count} {what}"))

    def is_finished(self) -> bool:
        """Whether the last thing reported is that the run ended well."""
        return parallel.any_of(self.is_owned and isinstance(last(self.path / "events.jsonl"), Finished))

    def read_config(self) -> dict[str, Any] | None:
        """The config that the folder was made with, if any."""
        path = self.path / "config.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run folder whole."""
        self._write(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))

    def save_state(self, state: dict[str, Any], name: str = "state") -> None:
        """Keep what a resumed run needs (tensors and plain values); replaces the last of this name."""
        import torch

        self._write(self.path / "state" / f"{name}.pt", lambda path: torch.save(state, path))

    def load_state(self, name: str = "state") -> dict[str, Any] | None:
        """The last complete state of this name, on the CPU; None for a run that has none."""
        import torch

        path = self.path / "state" / f"{name}.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def drop_states(self, keep: Iterable[str] = ()) -> None:
        """Remove all states but what the run goes on from and those to `keep`."""
        kept = {"state", *keep}
        for path in (self.path / "state").glob("*.pt") if self.is_owned else ():
            if path.stem not in kept:
                path.unlink()

    def save_checkpoint(
        self,
        name: str,
        write: Callable[[Path], None],
        role: str,
        step: int,
        metrics: dict[str, float] | None = None,
        chosen: bool = False,
    ) -> Path:
        """Write checkpoints/<name>/ through `write(folder)`, then report it; returns its path."""
        place = self.path / "checkpoints" / name
        self._write(place, write)
        relative = place.relative_to(self.path).as_posix()
        self.report(CheckpointSaved(step=step, path=relative, role=role, metrics=metrics or {}, chosen=chosen))
        return place

    def checkpoint_stop(self, save: Callable[[], None]) -> None:
        """Between two steps: if the run was asked to stop, save and raise Stopped."""
        if parallel.any_of(self.stop_requested):
            save()
            raise Stopped

    def _write(self, place: Path, write: Callable[[Path], Any]) -> None:
        if self.is_owned:
            write_whole(place, write)


def write_whole(place: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary sibling of `place` (a file or a folder), sync it, and put it in its place."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.{os.getpid()}.new")
    write(new)
    for path in [*new.rglob("*"), new] if new.is_dir() else [new]:
        _sync(path)
    if place.is_dir():  # a folder cannot replace a full one: move the old one aside first
        old = place.with_name(f".{place.name}.{os.getpid()}.old")
        place.rename(old)
        new.rename(place)
        shutil.rmtree(old)
    else:
        os.replace(new, place)
    _sync(place.parent)


def _clear_leftovers(folder: Path) -> None:
    """Undo a write that was killed half-way: put back what was moved aside, remove what never got its place."""
    for old in folder.rglob(".*.old"):
        place = old.with_name(old.name[1:].rsplit(".", 2)[0])
        shutil.rmtree(old) if place.exists() else old.rename(place)
    for new in folder.rglob(".*.new"):
        shutil.rmtree(new) if new.is_dir() else new.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cut_half_line(path: Path) -> None:
    """Drop what a killed writer left after the last line's end, so that the next event begins a line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
