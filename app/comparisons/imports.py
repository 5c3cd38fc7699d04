"""Importing comparisons that people made elsewhere: HH dialogues, preference pairs, or our own rankings."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.comparisons.formats import ComparisonFormat, Ranking, read
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.rules import CompletionDraft, add_all
from app.database import public_id
from app.errors import BadInput
from app.i18n import gettext as _
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts.imports import BATCH, PromptDefaults, batches, run
from app.prompts.rows import Row, rows
from app.prompts.rules import Admission, refusal
from app.prompts.schemas import ImportReport, Problem, Verdict


def import_comparisons(
    path: Path,
    *,
    format: ComparisonFormat,
    defaults: PromptDefaults,
    as_csv: bool = False,
    policy: str = "",
    skip_bad: bool = False,
    dry_run: bool = False,
    by: Account | None = None,
) -> ImportReport:
    """Import a file of comparisons; their prompts are stored too, unfiltered, split by owner or by text.

    Both sides of a pair belong to one imported policy, named by `policy` or after the collection: a name must not
    tell which side was chosen.
    """
    policy = policy.strip() or defaults.collection or path.name.split(".")[0]

    def check(session: Session, found: Iterable[Row], write: bool) -> ImportReport:
        return _Pass(session, format, defaults, policy, write).over(found)

    detail = {"format": format, "collection": defaults.collection}
    return run(
        check, lambda: rows(path, as_csv=as_csv), "comparisons.import", by, skip_bad=skip_bad, dry_run=dry_run, **detail
    )


class _Pass:
    """One pass over a file."""

    def __init__(self, session: Session, format: ComparisonFormat, defaults: PromptDefaults, policy: str, write: bool):
        self.session, self.format, self.defaults, self.policy, self.write = session, format, defaults, policy, write
        self.admission = Admission(session, filters=False, write=write)
        self.seen: set[str] = set()
        self.report = ImportReport()
        self.empty = self.fallen_back = 0

    def over(self, found: Iterable[Row]) -> ImportReport:
        for batch in batches(self._rankings(found), BATCH):
            self._take(batch)
        report = self.report
        report.problems.sort(key=lambda problem: problem.line)
        if self.fallen_back:
            report.notes.append(
                _("%(n)d pairs part before their last turn: their prompt is what both dialogues share.")
                % {"n": self.fallen_back}
            )
        if self.empty:
            report.notes.append(
                _("%(n)d rows have an empty completion, kept because somebody ranked it.") % {"n": self.empty}
            )
        return report

    def _rankings(self, found: Iterable[Row]) -> Iterator[Ranking]:
        for row in found:
            self.report.rows += 1
            if row.values is None:
                self.report.problems.append(row.problem)
                continue
            try:
                ranking, problems = read(row, self.format, self.defaults, self.policy)
            except BadInput as error:
                ranking, problems = None, [Problem(row.line, error.field or "line", error.message)]
            self.report.problems += problems
            if ranking is None or problems:
                continue
            self.fallen_back += ranking.fell_back
            self.empty += not all(one.text.strip() for one in ranking.completions)
            if len({one.text.strip() for one in ranking.completions}) < len(ranking.completions):
                message = _("Two of the completions are the same text.")
                self.report.left_out.append(Problem(row.line, "completions", message))
                continue
            yield ranking

    def _take(self, batch: list[Ranking]) -> None:
        decisions = self.admission.take([ranking.prompt for ranking in batch])
        keys = [ranking.import_key for ranking in batch]
        known = set(self.session.scalars(select(Comparison.import_key).where(Comparison.import_key.in_(keys))))
        new: list[tuple[Ranking, str, int | None]] = []
        for ranking, decision, key in zip(batch, decisions, keys, strict=True):
            if decision.verdict is Verdict.SPLIT:
                self.report.problems.append(Problem(ranking.line, "split", refusal(decision, ranking.prompt)))
            elif key in known or key in self.seen:
                self.report.known += 1
            else:
                self.seen.add(key)
                new.append((ranking, key, decision.prompt_id))
        self.report.added += len(new)
        if self.write and new:
            self._store(new)

    def _store(self, new: Sequence[tuple[Ranking, str, int]]) -> None:
        names = sorted({one.policy for ranking, _key, _id in new for one in ranking.completions})
        ids = {name: policies.get_or_create(self.session, name, PolicyKind.IMPORTED).id for name in names}
        drafts = [
            [CompletionDraft(prompt_id, ids[one.policy], one.text) for one in ranking.completions]
            for ranking, _key, prompt_id in new
        ]
        completion_ids = iter(add_all(self.session, [draft for row in drafts for draft in row]))
        comparisons = [
            {
                "public_id": public_id(),
                "source": ComparisonSource.IMPORT,
                "prompt_id": prompt_id,
                "imported_labeler": ranking.labeler,
                "import_key": key,
                "collection": self.defaults.collection,
                "pool": ranking.pool,
                "probability": ranking.probability,
            }
            for ranking, key, prompt_id in new
        ]
        stored = self.session.execute(insert(Comparison).returning(Comparison.import_key, Comparison.id), comparisons)
        comparison_ids = {key: id for key, id in stored}
        members = [
            {
                "comparison_id": comparison_ids[key],
                "completion_id": next(completion_ids),
                "shown_position": place if one.shown_position is None else one.shown_position,
                "rating": one.rating,
                "tier": one.tier,
                "flags": dict(one.flags or {}),
            }
            for ranking, key, _id in new
            for place, one in enumerate(ranking.completions)
        ]
        self.session.execute(insert(ComparedCompletion), members)
