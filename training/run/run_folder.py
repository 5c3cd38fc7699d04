"""The folder of one run: config.json, inputs.json, events.jsonl, checkpoints/<name>/, state/; locked by its one owner.

Of a run in several processes the first is the owner; what the others report or save goes nowhere.

Every file and checkpoint is written beside its place, synced and renamed, so a kill at any moment leaves the old one or
the new one, never half of one. What a failing disk tears all the same is passed over where something older is whole,
and the run says so.
"""

import fcntl
import json
import math
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from training.contract.events import (
    CheckpointSaved,
    DataRead,
    Event,
    Finished,
    Metrics,
    NetworkTried,
    Started,
    Warned,
    last,
    torn,
)
from training.run import parallel

BEFORE = "state.before"  # name of the state before the last, from which a run goes on where the last is torn
# What reading a file raises whose bytes are not those that torch.save wrote.
_TORN = (
    zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError,
    KeyError,
)  # fmt: skip


class Stopped(Exception):
    """The run was asked to stop and has written a state from which it can go on."""


class RunFolder:
    """One run's folder, owned by the run's first process until `close`."""

    def __init__(self, path: Path) -> None:
        """Make or open the folder and take its lock; raises ValueError if another process holds it."""
        self.path = Path(path).absolute()
        self.stop_requested = False
        self._has_started, self._held, self._unreadable, self._not_finite = False, [], set(), set()
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
        events = self.path / "events.jsonl"
        bad = cut_half_line(events) + torn(events)
        self._events = open(events, "ab", buffering=0)  # noqa: SIM115
        if bad:
            self.report(Warned(message=f"events.jsonl: {bad} torn lines cannot be read and are passed over"))

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
        """Append one event, at once visible to whoever follows the file; numbers that are not finite are left out."""
        if not self.is_owned:
            return
        if isinstance(event, Metrics | CheckpointSaved):
            event = self._finite_alone(event)
        if isinstance(event, DataRead | NetworkTried | Warned) and not self._has_started:  # `Started` comes first
            self._held.append(event)
            return
        self._has_started = True
        in_order = (event, *self._held) if isinstance(event, Started) else (*self._held, event)
        for each in in_order:
            self._events.write(each.model_dump_json().encode() + b"\n")
        self._held.clear()

    def _finite_alone(self, event: Metrics | CheckpointSaved) -> Event:
        """The event without numbers that no JSON can hold; each is reported once."""
        key = "values" if isinstance(event, Metrics) else "metrics"
        numbers = getattr(event, key)
        for name in [name for name, value in numbers.items() if not math.isfinite(value)]:
            if name not in self._not_finite:
                self._not_finite.add(name)
                self.report(Warned(message=f"{name} is {numbers[name]} at step {event.step} and is left out"))
        return event.model_copy(update={key: {n: value for n, value in numbers.items() if math.isfinite(value)}})

    def warn_counts(self, counts: dict[str, int]) -> None:
        """Report what was cut or left out, one Warned each."""
        for what, count in counts.items():
            self.report(Warned(message=f"{count} {what}"))

    def is_finished(self) -> bool:
        """Whether the last thing reported is that the run ended well."""
        return parallel.any_of(self.is_owned and isinstance(last(self.path / "events.jsonl"), Finished))

    def read_json(self, name: str) -> Any:
        """What a JSON file of the run folder holds, None if there is none; raises ValueError if it cannot be read."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: is no JSON ({error}); start a new run in another folder") from None

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the run folder whole."""
        self._write(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, value: Any, indent: int | None = 2) -> None:
        """Write a JSON file of the run folder whole; a number that is not finite, which JSON lacks, becomes null."""
        self.write_text(name, json.dumps(finite(value), indent=indent, allow_nan=False) + "\n")

    def save_state(self, state: dict[str, Any], name: str = "state") -> None:
        """Keep what a resumed run needs (tensors and plain values); replaces the last of this name.

        Of what the run goes on from, the one before is kept as well, where the disk has room for it.
        """
        import torch

        if not self.is_owned:
            return
        place, before = self._state(name), self._state(BEFORE)
        if before.exists() and shutil.disk_usage(before.parent).free < 2 * before.stat().st_size:
            before.unlink()
        keep = name == "state" and place.exists() and name not in self._unreadable
        write_whole(place, lambda path: torch.save(state, path), before if keep else None)
        self._unreadable.discard(name)

    def load_state(self, name: str = "state") -> dict[str, Any] | None:
        """The last state of this name that is whole, on the CPU; None for a run that has none.

        Raises ValueError where there is one and none is whole.
        """
        place = self._state(name)
        places = [place, *([self._state(BEFORE)] if name == "state" else [])]
        found = [path for path in places if path.exists()]
        for path in found:
            state = _whole_state(path)
            if state is None:
                self._unreadable.add(name)  # it takes the place of none that is whole
                continue
            if path != place:
                self.report(Warned(message=f"{place}: cannot be read; the run goes on from {path.name}, one older"))
            return state
        if found:
            older = ", nor can the one before it" if len(found) > 1 else ", and there is none before it"
            raise ValueError(f"{place}: cannot be read{older}; start a new run in another folder")
        return None

    def _state(self, name: str) -> Path:
        return self.path / "state" / f"{name}.pt"

    def drop_states(self, keep: Iterable[str] = ()) -> None:
        """Remove all states but the last that the run goes on from and those to `keep`."""
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


def write_whole(place: Path, write: Callable[[Path], None], before: Path | None = None) -> None:
    """Let `write` fill a temporary sibling of `place` (a file or a folder), sync it, and put it in its place.

    A file that was there is kept as `before`, where that is given.
    """
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
        if before is not None:
            os.replace(place, before)
        os.replace(new, place)
    _sync(place.parent)


def finite(value: Any) -> Any:
    """Plain values with None in place of every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_state(path: Path) -> dict[str, Any] | None:
    """What torch.save wrote, None where bytes of it are missing or wrong."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch itself compares no checksum
                return None
        return torch.load(path, map_location="cpu", weights_only=True)
    except _TORN:
        return None


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


def cut_half_line(path: Path) -> int:
    """Drop what a killed writer left after the last line's end, so that the next event begins a line; 1 if it did."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
    return int(whole < len(content))
