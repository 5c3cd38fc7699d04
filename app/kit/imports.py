"""Two-pass import: a dry pass over the whole file, then the same pass again chunk by chunk, writing.

Each chunk is one transaction, so that others do not wait long for SQLite's single writer. An interrupted import can be
run again: what it stored is then recognized. Memory use does not depend on the length of the file.
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
from app.kit.given import BadRow, Problem, Row
from app.kit.i18n import gettext as _
from app.kit.rows import rows

BATCH_ROWS, BATCH_BYTES = 500, 2_000_000
PAUSE_SECONDS = 0.1  # between chunks; a process waiting for SQLite's write lock retries this often
MOST_LISTED = 1000  # problems listed one by one; the rest are only counted
PREVIEWED = 5
T = TypeVar("T")


@dataclass
class ImportReport:
    """What an import did, or would do. It counts entries of rows: rows = added + known + left_out_rows + bad_rows."""

    rows: int = 0  # a row with several prompts or rankings counts once for each
    added: int = 0
    known: int = 0
    joined: int = 0  # known prompts that the import adds to its collection
    left_out_rows: int = 0  # valid rows excluded by a rule; they do not stop the import
    left_out: list[Problem] = field(default_factory=list)  # the first of them
    reasons: Counter[str] = field(default_factory=Counter)  # number of rows for each reason
    bad_rows: int = 0  # rows that cannot be stored; they stop the import
    problems: list[Problem] = field(default_factory=list)  # the first of them; a row may have several
    unused: Counter[str] = field(default_factory=Counter)  # fields that had a value but are not used
    remarks: Counter[str] = field(default_factory=Counter)  # sentences about rows with %(n)d, and the number of rows
    preview: list[dict] = field(default_factory=list)  # the first entries, as stored
    written: bool = False

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Count a bad row and keep its problems, up to MOST_LISTED in all."""
        self.rows += 1
        self.bad_rows += 1
        self.problems += problems[: MOST_LISTED - len(self.problems)]

    def leave_out(self, line: int, field: str, reason: str, message: str = "") -> None:
        """Count an entry that a rule excludes; `message` is more specific than the reason, which many entries share."""
        self.rows += 1
        self.left_out_rows += 1
        if len(self.left_out) < MOST_LISTED:
            self.left_out.append(Problem(line, field, message or reason))
        self.reasons[reason if reason in self.reasons or len(self.reasons) < MOST_LISTED else _("other reasons")] += 1

    def take_known(self) -> None:
        """Count an entry that is already stored."""
        self.rows += 1
        self.known += 1

    def take(self, shown: Callable[[], dict]) -> None:
        """Count an entry that is stored, or would be; the first PREVIEWED are kept for the preview."""
        self.rows += 1
        self.added += 1
        if len(self.preview) < PREVIEWED:
            self.preview.append(shown())

    @property
    def notes(self) -> list[str]:
        """Further remarks about the rows, each with its number of rows."""
        notes = [i18n.gettext(sentence) % {"n": count} for sentence, count in self.remarks.most_common() if count]
        if self.unused:
            fields = ", ".join(f"{name} ({count})" for name, count in self.unused.most_common(20))
            notes.append(_("Unused fields, with the number of rows that have them: %(fields)s.") % {"fields": fields})
        return notes

    def as_dict(self) -> dict:
        """Return the report as a JSON object."""
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
    """Keys seen so far in a file with a text each, kept on disk; `before` is the memory of the previous pass."""

    def __init__(self, before: "FileMemory | None" = None) -> None:
        self.before = before
        self._kept = sqlite3.connect("")  # a temporary file, deleted when it is closed
        self._kept.execute("CREATE TABLE met (key TEXT PRIMARY KEY, value) WITHOUT ROWID")

    def __enter__(self) -> "FileMemory":
        return self

    def __exit__(self, *_error: object) -> None:
        self._kept.close()

    def find(self, keys: Iterable[str]) -> dict[str, str]:
        """Return the values of those keys that have been seen."""
        wanted = list(keys)
        found: dict[str, str] = {}
        for start in range(0, len(wanted), BATCH_ROWS):
            some = wanted[start : start + BATCH_ROWS]
            marks = ",".join("?" * len(some))
            with closing(self._kept.execute(f"SELECT key, value FROM met WHERE key IN ({marks})", some)) as rows:
                found.update(rows)
        return found

    def keep(self, values: Mapping[str, str]) -> None:
        """Store values, replacing those that the keys have."""
        self._kept.executemany("INSERT OR REPLACE INTO met VALUES (?, ?)", values.items())


Found = Sequence[Row | BadRow]
Watch = Callable[[float, str], object]  # called with the share of a pass that is done, and the pass's name
Pass = Callable[[Session, Found, ImportReport, FileMemory, bool], None]  # the last argument: whether to write


def run(
    check: Pass,
    path: Path,
    note: Callable[[Session, int], object],
    *,
    as_csv: bool,
    skip_bad: bool,
    dry_run: bool,
    watch: Watch | None = None,
) -> ImportReport:
    """Run a dry pass over all rows; if the result allows it, run it again chunk by chunk and write.

    `note` is called with the number of added entries at the end, even if the import is interrupted. `watch` is called
    with the share of each pass that is done. Raises BadInput if the file changes during the import.
    """
    note_share = watch or (lambda _share, _pass: None)
    report = ImportReport()
    with FileMemory() as looked, _nothing_old_is_garbage():
        as_seen = fingerprint(path)
        for chunk in chunks(rows(path, as_csv=as_csv, watch=lambda share: note_share(share, "checking"))):
            with reading() as session:
                check(session, chunk, report, looked, False)
        report.problems.sort(key=lambda problem: problem.line)
        if dry_run or (report.bad_rows and not skip_bad) or not report.added + report.joined:
            return report
        written = ImportReport(written=True)
        try:
            with FileMemory(looked) as memory:
                found = rows(path, as_csv=as_csv, watch=lambda share: note_share(share, "storing"))
                for number, chunk in enumerate(chunks(found)):
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
    """Exempt existing objects from garbage collection: an import allocates so much that it runs all the time."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _check_same(path: Path, as_seen: tuple[int, int], written: ImportReport) -> None:
    """Raise BadInput if the file has changed since the first pass."""
    if fingerprint(path) != as_seen:
        raise BadInput(
            _("The file changed while it was being imported. What was stored before that is kept: %(n)d. Import the "
              "file again when it is complete; what is already stored will be recognized.") % {"n": written.added}
        )  # fmt: skip


def chunks(found: Iterable[Row | BadRow]) -> Iterator[list[Row | BadRow]]:
    """Yield rows in lists, each small enough for one transaction and for memory."""
    chunk: list[Row | BadRow] = []
    size = 0
    for row in found:
        chunk.append(row)
        size += row.size_bytes
        if len(chunk) == BATCH_ROWS or size > BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
