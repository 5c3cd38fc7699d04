"""The folder of one run: config.json, inputs.json, events.jsonl, checkpoints/<name>/, state/; locked by its one owner.

If a run has several processes, the first is the owner; what the others report or save is ignored.

Every file and checkpoint is written to a temporary name, synced and renamed, so a kill at any moment leaves the old one
or the new one, never half of one. If a failing disk still tears a file, an older whole one is used if there is one, and
the run reports it.
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

BEFORE = "state.before"  # name of the state before the last, from which a run resumes if the last is torn
# Raised on reading a file whose bytes are not what torch.save wrote.
_TORN = (
    zipfile.BadZipFile, zlib.error, struct.error, pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError,
    KeyError,
)  # fmt: skip


class Stopped(Exception):
    """The run was asked to stop and has saved a state to resume from."""


class RunFolder:
    """One run's folder, owned by the run's first process until `close`."""

    def __init__(self, path: Path) -> None:
        """Create or open the folder and lock it; raise ValueError if another process holds the lock."""
        self.path = Path(path).absolute()
        self.stop_requested = False
        self._has_started = False
        self._held: list[Event] = []
        self._unreadable: set[str] = set()
        self._not_finite: set[str] = set()
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
            self.report(Warned(message=f"events.jsonl: {bad} torn lines cannot be read and are skipped"))

    def close(self) -> None:
        """Release the folder's lock."""
        if self.is_owned:
            self._events.close()
            self._lock.close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self, event: Event) -> None:
        """Append one event, visible at once to readers of the file; non-finite numbers are left out."""
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
        """Return the event without the non-finite numbers, which JSON cannot hold; each is reported once."""
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
        """Return whether the last event is that the run finished."""
        return parallel.any_of(self.is_owned and isinstance(last(self.path / "events.jsonl"), Finished))

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file of the run folder, None if missing; raise ValueError if unreadable."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: is no JSON ({error}); start a new run in another folder") from None

    def write_text(self, name: str, text: str) -> None:
        """Write a text file of the run folder atomically."""
        self._write(self.path / name, lambda path: path.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, value: Any, indent: int | None = 2) -> None:
        """Write a JSON file of the run folder atomically; non-finite numbers, which JSON lacks, become null."""
        self.write_text(name, json.dumps(finite(value), indent=indent, allow_nan=False) + "\n")

    def save_state(self, state: dict[str, Any], name: str = "state") -> None:
        """Save what a resumed run needs (tensors and plain values), replacing the last state of this name.

        Of the state that the run resumes from, the one before is kept as well, if the disk has room for it.
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
        """Return the last whole state of this name, on the CPU; None if the run has none.

        Raise ValueError if states exist but none is whole.
        """
        place = self._state(name)
        places = [place, *([self._state(BEFORE)] if name == "state" else [])]
        found = [path for path in places if path.exists()]
        for path in found:
            state = _whole_state(path)
            if state is None:
                self._unreadable.add(name)  # so that save_state does not put it over a whole one
                continue
            if path != place:
                self.report(
                    Warned(message=f"{place}: cannot be read; the run continues from {path.name}, which is older")
                )
            return state
        if found:
            older = ", nor can the one before it" if len(found) > 1 else ", and there is none before it"
            raise ValueError(f"{place}: cannot be read{older}; start a new run in another folder")
        return None

    def _state(self, name: str) -> Path:
        return self.path / "state" / f"{name}.pt"

    def drop_states(self, keep: Iterable[str] = ()) -> None:
        """Remove all states but the last one that the run resumes from and those to `keep`."""
        kept = {"state", *keep}
        for path in (self.path / "state").glob("*.pt") if self.is_owned else ():
            if path.stem not in kept:
                path.unlink()

    def save_checkpoint(
        self,
        name: str,
        write: Callable[[Path], object],
        role: str,
        step: int,
        metrics: dict[str, float] | None = None,
        chosen: bool = False,
    ) -> Path:
        """Write checkpoints/<name>/ through `write(folder)`, report it and return its path."""
        place = self.path / "checkpoints" / name
        self._write(place, write)
        relative = place.relative_to(self.path).as_posix()
        self.report(CheckpointSaved(step=step, path=relative, role=role, metrics=metrics or {}, chosen=chosen))
        return place

    def checkpoint_stop(self, save: Callable[[], None]) -> None:
        """Save and raise Stopped if the run was asked to stop; to be called between two steps."""
        if parallel.any_of(self.stop_requested):
            save()
            raise Stopped

    def _write(self, place: Path, write: Callable[[Path], object]) -> None:
        if self.is_owned:
            write_whole(place, write)


def write_whole(place: Path, write: Callable[[Path], object], before: Path | None = None) -> None:
    """Let `write` fill a temporary sibling of `place` (a file or a folder), sync it, and rename it to `place`.

    If `before` is given, the file that was at `place` is kept there.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.{os.getpid()}.new")
    write(new)
    for path in [*new.rglob("*"), new] if new.is_dir() else [new]:
        _sync(path)
    if place.is_dir():  # a folder cannot replace a non-empty one: move the old one aside first
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
    """Replace every non-finite number in plain values with None."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _whole_state(path: Path) -> dict[str, Any] | None:
    """Load what torch.save wrote; None if bytes of it are missing or wrong."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # torch itself verifies no checksum
                return None
        return torch.load(path, map_location="cpu", weights_only=True)
    except _TORN:
        return None


def _clear_leftovers(folder: Path) -> None:
    """Undo a write that was killed halfway: put back what was moved aside, remove what was not renamed yet."""
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
    """Drop a killed writer's unfinished last line, so that the next event starts a line; return 1 if there was one."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
    return int(whole < len(content))
