"""Files as other tools write them, and what is stored of their comparisons."""

import json
from pathlib import Path

from sqlalchemy import select

from app.comparisons.formats import ComparisonFormat
from app.comparisons.imports import import_comparisons
from app.comparisons.tables import Comparison
from app.database import reading
from app.kit.imports import ImportReport
from app.kit.rows import is_csv
from app.prompts.imports import PromptDefaults
from app.prompts.tables import Prompt

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "import"
HH, PAIRS, RANKINGS, ARGILLA, LABEL_STUDIO = ComparisonFormat


def says(*turns: str, system: str = "", words: str = "content") -> list[dict]:
    """A dialogue that the user begins."""
    said = [{"role": ("user", "assistant")[n % 2], words: text} for n, text in enumerate(turns)]
    return [{"role": "system", words: system}, *said] if system else said


def put(path: Path, *rows: dict, array: bool = False) -> Path:
    lines = [json.dumps(row) for row in rows]
    path.write_text(f"[{','.join(lines)}]" if array else "\n".join(lines) + "\n")
    return path


def checked(report: ImportReport) -> ImportReport:
    """Every row is in one of the counts."""
    assert report.rows == report.added + report.known + report.left_out_rows + report.bad_rows
    return report


def compare(path: Path, format: ComparisonFormat = PAIRS, **options) -> ImportReport:
    return checked(
        import_comparisons(path, format=format, as_csv=is_csv(path.name), defaults=PromptDefaults("mine"), **options)
    )


def asked(prompt: Prompt) -> list[tuple[str, str]]:
    return [(message["role"], message["text"]) for message in prompt.messages]


def rankings() -> list[tuple[list[tuple[str, str]], list[tuple[int | None, str]], str, float | None]]:
    """Of each stored comparison: its prompt, (tier, text) the best first, who ranked, how sure."""
    with reading() as session:
        return [
            (
                asked(one.prompt),
                sorted(
                    ((each.tier, each.completion.text) for each in one.completions), key=lambda it: (it[0] or 99, it[1])
                ),
                one.imported_labeler,
                one.probability,
            )
            for one in session.scalars(select(Comparison).order_by(Comparison.id))
        ]
