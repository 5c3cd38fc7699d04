"""Running an import: a pass over the whole file that only looks, then the same pass chunk by chunk, writing.

Each chunk is a transaction, so that nobody waits long for SQLite's one writer. An import that breaks off is run again:
what it stored is known by then. Memory stays the same however long the file is.
"""

import gc
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from app.database import reading, transaction
from app.errors import BadInput
from app.kit import i18n
from app.kit.files import fingerprint
from app.kit.given import Problem, Row
from app.kit.i18n import gettext as _
from app.kit.rows import rows

BATCH_ROWS, BATCH_BYTES = 500, 2_000_000
PAUSE_SECONDS = 0.1  # between chunks; SQLite looks that often whether another process still writes
MOST_LISTED = 1000  # problems that are told one by one; the rest are counted
PREVIEWED = 5
T = TypeVar("T")


@dataclass
class ImportReport:
    """What an import did, or would do. What a row holds counts: rows = added + known + left out + bad, always."""

    rows: int = 0  # a row of several prompts or rankings counts as so many
    added: int = 0
    known: int = 0
    joined: int = 0  # known prompts that the import adds to its collection
    left_out_rows: int = 0  # good rows that a rule keeps out; they stop nothing
    left_out: list[Problem] = field(default_factory=list)  # the first of them
    reasons: Counter[str] = field(default_factory=Counter)  # why, and how many for each reason
    bad_rows: int = 0  # rows that say what cannot be stored; they stop the import
    problems: list[Problem] = field(default_factory=list)  # the first of them; a row may have several
    unused: Counter[str] = field(default_factory=Counter)  # fields that held something and mean nothing here
    remarks: Counter[str] = field(default_factory=Counter)  # sentences with %(n)d about rows, and how many they are
    preview: list[dict] = field(default_factory=list)  # the first entries as they are stored
    written: bool = False

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Count a bad row."""
        self.rows += 1
        self.bad_rows += 1
        self.problems += problems[: MOST_LISTED - len(self.problems)]

    def leave_out(self, line: int, field: str, reason: str, message: str = "") -> None:
        """Count an entry that a rule keeps out; `message` says more of this one than the reason, which many share."""
        self.rows += 1
        self.left_out_rows += 1
        if len(self.left_out) < MOST_LISTED:
            self.left_out.append(Problem(line, field, message or reason))
        self.reasons[reason if reason in self.reasons or len(self.reasons) < MOST_LISTED else _("other reasons")] += 1

    def take_known(self) -> None:
        """Count an entry that is stored already."""
        self.rows += 1
        self.known += 1

    def take(self, shown: Callable[[], dict]) -> None:
        """Count an entry that is stored, or would be; the first are kept to be shown."""
        self.rows += 1
        self.added += 1
        if len(self.preview) < PREVIEWED:
            self.preview.append(shown())

    @property
    def notes(self) -> list[str]:
        """What else is to be said of the rows, each with how many they are."""
        notes = [i18n.gettext(sentence) % {"n": count} for sentence, count in self.remarks.most_common() if count]
        if self.unused:
            fields = ", ".join(f"{name} ({count})" for name, count in self.unused.most_common(20))
            notes.append(_("Unused fields, with the number of rows that have them: %(fields)s.") % {"fields": fields})
        return notes

    def as_dict(self) -> dict:
        """The report as JSON."""
        return {
            "rows": self.rows,
            "added": self.added,
            "known": self.known,
            "joined": self.joined,
            "left_out_rows": self.left_out_rows,
            "left_out": [vars(problem) for problem in self.left_out],
            "bad_rows": self.bad_rows,
            "problems": [vars(problem) for problem in self.problems],
            "notes": self.notes,
            "preview": self.preview,
            "written": self.written,
        }


class FileMemory:
    """What was met so far in a file, kept on disk: keys with a value each; `before` is that of the pass before."""

    def __init__(self, before: "FileMemory | None" = None) -> None:
        self.before = before
        self._kept = sqlite3.connect("")  # a file of its own that goes when it is closed
        self._kept.execute("CREATE TABLE met (key TEXT PRIMARY KEY, value) WITHOUT ROWID")

    def __enter__(self) -> "FileMemory":
        return self

    def __exit__(self, *_error: object) -> None:
        self._kept.close()

    def find(self, keys: Iterable[str]) -> dict[str, object]:
        """The values of those keys that were met."""
        wanted = list(keys)
        found: dict[str, object] = {}
        for start in range(0, len(wanted), BATCH_ROWS):
            some = wanted[start : start + BATCH_ROWS]
            marks = ",".join("?" * len(some))
            with closing(self._kept.execute(f"SELECT key, value FROM met WHERE key IN ({marks})", some)) as rows:
                found.update(rows)
        return found

    def keep(self, values: Mapping[str, object]) -> None:
        """Keep values, in place of those that the keys have."""
        self._kept.executemany("INSERT OR REPLACE INTO met VALUES (?, ?)", values.items())


Pass = Callable[[Session, Iterable[Row], ImportReport, FileMemory, bool], None]  # the last: whether it writes


def run(
    check: Pass,
    path: Path,
    note: Callable[[Session, int], object],
    *,
    as_csv: bool,
    skip_bad: bool,
    dry_run: bool,
) -> ImportReport:
    """Run a pass over all rows that only looks; if it may, run it again over one chunk after another and write.

    `note` gets the number of added entries at the end, also of an import that breaks off. Raises BadInput if the file
    changes meanwhile.
    """
    report = ImportReport()
    with FileMemory() as looked, _nothing_old_is_garbage():
        as_seen = fingerprint(path)
        for chunk in chunks(rows(path, as_csv=as_csv)):
            with reading() as session:
                check(session, chunk, report, looked, False)
        report.problems.sort(key=lambda problem: problem.line)
        if dry_run or (report.bad_rows and not skip_bad) or not report.added + report.joined:
            return report
        written = ImportReport(written=True)
        try:
            with FileMemory(looked) as memory:
                for number, chunk in enumerate(chunks(rows(path, as_csv=as_csv))):
                    if number:
                        time.sleep(PAUSE_SECONDS)
                    _check_same(path, as_seen, written)
                    with transaction() as session:
                        check(session, chunk, written, memory, True)
        finally:
            with transaction() as session:
                note(session, written.added)
        return written


@contextmanager
def _nothing_old_is_garbage() -> Iterator[None]:
    """Spare what is loaded by now the garbage collector: an import makes so much that it is searched all the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _check_same(path: Path, as_seen: tuple[int, int], written: ImportReport) -> None:
    """Raise BadInput if the rows may differ from those that the first pass looked at."""
    if fingerprint(path) != as_seen:
        raise BadInput(
            _("The file changed while it was being imported. What was stored before that is kept: %(n)d. Import the "
              "file again when it is complete; what is already stored will be recognized.") % {"n": written.added}
        )  # fmt: skip


def chunks(found: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in lists, each short enough for one transaction and for memory."""
    chunk: list[Row] = []
    size = 0
    for row in found:
        chunk.append(row)
        size += row.size_bytes
        if len(chunk) == BATCH_ROWS or size > BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
