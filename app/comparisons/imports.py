"""Importing comparisons that people made elsewhere, in the formats of Plumbline and other tools."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.comparisons.formats import ComparisonFormat, read
from app.comparisons.rankings import Ranking
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.rules import CompletionDraft, add_all
from app.database import public_id
from app.kit.files import stem
from app.kit.given import BadRow, Problem
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.kit.imports import FileMemory, Found, ImportReport, Watch, run
from app.kit.text import is_blank, normal_form
from app.policies import rules as policies
from app.policies.tables import PolicyKind
from app.prompts.admission import Admission, refusal, remark
from app.prompts.imports import PromptDefaults, shown
from app.prompts.schemas import Verdict

ELSEWHERE = N_(
    "Comparisons already stored in another collection, where they remain: %(n)d. Select it in snapshots too."
)
FELL_BACK = N_("%(n)d pairs diverge before their last turn; their prompt is the part that both dialogues share.")
EMPTY = N_("%(n)d rows have an empty completion, kept because it was ranked.")


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
    watch: Watch | None = None,
) -> ImportReport:
    """Import a file of comparisons; their prompts are stored too, unfiltered, and split by owner or by text.

    Both sides of a pair belong to one imported policy, named by `policy` or after the collection: a name must not
    reveal which side was chosen.
    """
    policy = policy.strip() or defaults.collection or stem(path.name)

    def check(session: Session, found: Found, report: ImportReport, memory: FileMemory, write: bool) -> None:
        rankings = _read(found, report, format, defaults, policy)
        admission = Admission(session, filters=False, write=write, memory=memory)
        new = _unknown(session, rankings, defaults.collection, admission, report, memory)
        if write and new:
            _store(session, new, defaults.collection)

    def note(session: Session, added: int) -> None:
        accounts.record(session, by, "comparisons.import", added=added, format=format, collection=defaults.collection)

    return run(check, path, note, as_csv=as_csv, skip_bad=skip_bad, dry_run=dry_run, watch=watch)


def _read(
    found: Found, report: ImportReport, format: ComparisonFormat, defaults: PromptDefaults, policy: str
) -> list[Ranking]:
    """Return the rankings of some rows that may be stored, and report the others."""
    taken = []
    for row in found:
        if isinstance(row, BadRow):
            report.refuse([row.problem])
            continue
        rankings, left_out, problems = read(row, format, defaults, policy)
        if problems:
            report.refuse(problems)
            continue
        report.unused.update(row.values.unused())
        for reason in left_out:
            report.leave_out(row.line, "completions", reason)
        for ranking in rankings:
            if len({normal_form(one.text) for one in ranking.completions}) < len(ranking.completions):
                report.leave_out(row.line, "completions", _("Two of the completions have the same text."))
                continue
            if ranking.fell_back:
                report.remarks[FELL_BACK] += 1
            if any(is_blank(one.text) for one in ranking.completions):
                report.remarks[EMPTY] += 1
            taken.append(ranking)
    return taken


def _unknown(
    session: Session,
    rankings: Sequence[Ranking],
    collection: str,
    admission: Admission,
    report: ImportReport,
    memory: FileMemory,
) -> list[tuple[Ranking, str, int]]:
    """Return (ranking, its key, its prompt's id) of those not yet stored; new prompts of a dry run have the id 0."""
    decisions = admission.take([ranking.prompt for ranking in rankings])
    keys = _keys(rankings, memory)
    stored = session.execute(
        select(Comparison.import_key, Comparison.collection).where(Comparison.import_key.in_(keys))
    )
    collections = {key: name for key, name in stored}
    known = set(collections)
    known |= set(memory.find(f"ranking {key}" for key in keys))
    new = []
    for ranking, decision, key in zip(rankings, decisions, keys, strict=True):
        remark(decision, report)
        if decision.verdict is Verdict.SPLIT:
            report.refuse([Problem(ranking.line, "split", refusal(decision, ranking.prompt))])
        elif key in known or f"ranking {key}" in known:
            report.take_known()
            report.remarks[ELSEWHERE] += collections.get(key, collection) != collection
        else:
            known.add(key)
            report.take(partial(_shown, ranking))
            new.append((ranking, key, decision.prompt_id or 0))
    memory.keep({f"ranking {key}": "" for _ranking, key, _id in new})
    return new


def _keys(rankings: Sequence[Ranking], memory: FileMemory) -> list[str]:
    """Return a key for each ranking, by which an import finds rankings that are stored already.

    Without a labeler's name, the same vote twice in a file counts as two votes: the second gets its number in the key.
    """
    asked = [ranking.import_key for ranking in rankings]
    met = Counter({key[5:]: int(count) for key, count in memory.find(f"vote {key}" for key in asked).items()})
    keys = []
    for ranking, key in zip(rankings, asked, strict=True):
        met[key] += 1
        keys.append(key if ranking.labeler or met[key] == 1 else f"{key[:56]}{met[key]:08d}")
    memory.keep({f"vote {key}": str(count) for key, count in met.items()})
    return keys


def _shown(ranking: Ranking) -> dict:
    completions = [{"tier": one.tier, "text": one.text} for one in ranking.completions]
    return {
        **shown(ranking.line, ranking.prompt),
        "completions": sorted(completions, key=lambda one: one["tier"] or len(completions) + 1),
        "labeler": ranking.labeler,
    }


def _store(session: Session, new: Sequence[tuple[Ranking, str, int]], collection: str) -> None:
    names = sorted({one.policy for ranking, _key, _id in new for one in ranking.completions})
    ids = {name: policies.get_or_create(session, name, PolicyKind.IMPORTED).id for name in names}
    drafts = [
        [CompletionDraft(prompt_id, ids[one.policy], one.text) for one in ranking.completions]
        for ranking, _key, prompt_id in new
    ]
    completion_ids = iter(add_all(session, [draft for row in drafts for draft in row]))
    comparisons = [
        {
            "public_id": public_id(),
            "source": ComparisonSource.IMPORT,
            "prompt_id": prompt_id,
            "imported_labeler": ranking.labeler,
            "import_key": key,
            "collection": collection,
            "pool": ranking.pool,
            "probability": ranking.probability,
        }
        for ranking, key, prompt_id in new
    ]
    stored = session.execute(insert(Comparison).returning(Comparison.import_key, Comparison.id), comparisons)
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
    session.execute(insert(ComparedCompletion), members)
