"""Reads an uploaded file line by line in bounded memory: decompresses gzip and rejects files that are not text."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from app.errors import BadInput
from app.kit import i18n
from app.kit.i18n import N_
from app.kit.i18n import gettext as _

MAX_LINE_MB = 4
MAX_LINE_BYTES = MAX_LINE_MB * 1_000_000
CHUNK_BYTES = 1 << 18
MOST_UNPACKED_BYTES = 2_000_000_000
FREE_BYTES, MOST_RATIO = 20_000_000, 200  # text compresses 3 to 10 times; a file beyond both limits is a zip bomb
_ENDINGS = re.compile(r"(\.(jsonl|ndjson|json|csv|txt))?(\.gz)?$", re.IGNORECASE)
_KINDS = {
    b"PK\x03\x04": N_("a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    b"PAR1": N_(
        "Parquet: convert it to JSON Lines, e.g. with pandas: read_parquet, to_json(orient='records', lines=True)"
    ),
    b"BZh": N_("compressed with bzip2: decompress it, or compress it with gzip"),
    b"\xfd7zXZ": N_("compressed with xz: decompress it, or compress it with gzip"),
    b"\x28\xb5\x2f\xfd": N_("compressed with zstd: decompress it, or compress it with gzip"),
    b"%PDF": N_("a PDF: save its data as JSON Lines or CSV"),
    b"\xff\xfe": N_("UTF-16: save it as UTF-8, e.g. with: iconv -f UTF-16 -t UTF-8 FILE"),
    b"\xfe\xff": N_("UTF-16: save it as UTF-8, e.g. with: iconv -f UTF-16 -t UTF-8 FILE"),
}


def stem(name: str) -> str:
    """Return a file's name without its folder and format extensions: gpt-4.1.jsonl.gz is gpt-4.1."""
    return _ENDINGS.sub("", Path(name).name).strip()


class Line(NamedTuple):
    """One line without its \\n; `text` is None if it is longer than MAX_LINE_BYTES."""

    number: int
    text: bytes | None


@contextmanager
def opened(path: Path, watch: Callable[[float], object] | None = None) -> Iterator["Source"]:
    """Open a file for reading, decompressing gzip; raise BadInput with advice for any other format.

    `watch` is called with the share of the file that has been read.
    """
    if not path.is_file():
        raise BadInput(_("%(path)s is not a regular file; save its output to a file first.") % {"path": path})
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        unpacked: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        size = max(1, path.stat().st_size)

        def report() -> None:
            if watch is not None:
                watch(raw.tell() / size)

        yield Source(unpacked, raw if packed else None, report)


def fingerprint(path: Path) -> tuple[int, int]:
    """Return a file's size and modification time, which change when it is written to."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class Source:
    """A file read in chunks; `raw` is the compressed file of a gzip, used to measure its compression ratio."""

    def __init__(self, file: IO[bytes], raw: IO[bytes] | None, report: Callable[[], object]):
        self.file, self.raw, self.unpacked, self.report = file, raw, 0, report
        self.start = self.read()
        self._check_kind()

    def read(self) -> bytes:
        """Return the next chunk, b"" at the end; raise BadInput if the file is damaged or exceeds the gzip limits."""
        try:
            chunk = self.file.read(CHUNK_BYTES)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadInput(
                _("The file is cut off or damaged: gzip says “%(error)s”. Download or copy it again.")
                % {"error": error}
            ) from error
        self.unpacked += len(chunk)
        self.report()
        if self.raw is not None:
            if self.unpacked > max(FREE_BYTES, MOST_RATIO * self.raw.tell()):
                raise BadInput(
                    _("The file unpacks to over %(ratio)d times its size, unlike any text; unpack it and look at it.")
                    % {"ratio": MOST_RATIO}
                )
            if self.unpacked > MOST_UNPACKED_BYTES:
                raise BadInput(
                    _("The file unpacks to more than %(most)d MB; unpack it and import it in parts.")
                    % {"most": MOST_UNPACKED_BYTES // 1_000_000}
                )
        return chunk

    def chunks(self) -> Iterator[bytes]:
        """Yield every chunk, the first without its byte order mark."""
        yield self.start.removeprefix(b"\xef\xbb\xbf")
        while chunk := self.read():
            yield chunk

    def lines(self) -> Iterator[Line]:
        """Yield every non-empty line with its number."""
        number, begun, too_long = 1, b"", False
        for chunk in self.chunks():
            first, *rest = chunk.split(b"\n")
            begun, too_long = _joined(begun, first, too_long)
            for following in rest:
                if begun or too_long:
                    yield Line(number, None if too_long else begun)
                number += 1
                begun, too_long = _joined(b"", following, False)
        if begun or too_long:
            yield Line(number, None if too_long else begun)

    def _check_kind(self) -> None:
        for magic, kind in _KINDS.items():
            if self.start.startswith(magic):
                raise BadInput(_("The file is not UTF-8 text but %(kind)s.") % {"kind": i18n.gettext(kind)})
        if b"\x00" in self.start[:8]:
            raise BadInput(_("The file is binary, or UTF-16 or UTF-32 text; save it as UTF-8."))
        if b"\r" in self.start and b"\n" not in self.start and self.start.rstrip(b"\r").count(b"\r"):
            raise BadInput(
                _("The lines of the file end in CR only, as on old Macs; save it with LF, e.g.: tr '\\r' '\\n' < FILE")
            )


def _joined(begun: bytes, more: bytes, too_long: bool) -> tuple[bytes, bool]:
    too_long = too_long or len(begun) + len(more) > MAX_LINE_BYTES
    return (b"", True) if too_long else (begun + more, False)
