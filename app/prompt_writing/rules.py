"""Prompts that labelers write: calls for them, drafts kept on the server, and near-duplicates."""

import re
from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, exists, func, select, update
from sqlalchemy.orm import Session, contains_eager

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.database import changed_rows, utc_now
from app.errors import BadInput, Conflict, NotFound
from app.kit.i18n import gettext as _
from app.prompt_writing.schemas import WritingCallIn, WritingContent
from app.prompt_writing.tables import WRITTEN, Writing, WritingCall
from app.prompts.messages import canonical, prefix_sha256
from app.prompts.queries import known_prefixes
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import Pool, Split

ALIKE = 0.5  # two texts of one labeler are alike if they share more than this of their three-word runs
COMPARED = 300  # newest prompts of the labeler, compared with a new one


def owner(labeler: Account) -> tuple[str, Split | None]:
    """Return the owner and the split of a labeler's prompts; a held-out labeler's are never train.

    An owner has one split and a cap, so a labeler who changes pools becomes two owners.
    """
    if labeler.pool is Pool.HELD_OUT:
        return f"held-out labeler {labeler.username}", Split.VALIDATION
    return f"labeler {labeler.username}", None


# --- Calls ---


def call(session: Session, new: WritingCallIn, by: Account) -> WritingCall:
    """Ask labelers to write prompts."""
    if new.kind not in WRITTEN:
        raise BadInput(
            _("Labelers cannot write prompts of this kind; choose one of: %(kinds)s.") % {"kinds": ", ".join(WRITTEN)},
            field="kind",
        )
    if new.kind is PromptSource.LABELER_USER_BASED and not new.use.strip():
        raise BadInput(_("Describe the use, without anything that identifies who it is for."), field="use")
    made = WritingCall(
        kind=new.kind,
        use=new.use.strip(),
        wanted=new.wanted,
        collection=new.collection.strip(),
        created_by_id=by.id,
    )
    session.add(made)
    session.flush()
    accounts.record(session, by, "writing.call", subject=made.public_id, kind=made.kind, wanted=made.wanted)
    return made


def find_call(session: Session, public_id: str) -> WritingCall:
    """Return a call; raise NotFound if it does not exist."""
    found = session.scalar(select(WritingCall).where(WritingCall.public_id == public_id))
    if found is None:
        raise NotFound(_("Request for prompts not found."))
    return found


def close(session: Session, found: WritingCall, by: Account) -> None:
    """Close a call; drafts stay with their writers."""
    if found.closed_at is None:
        found.closed_at = utc_now()
        accounts.record(session, by, "writing.close", subject=found.public_id)
        session.flush()


def _written() -> ColumnElement[int]:
    return (
        select(func.count())
        .select_from(Writing)
        .where(Writing.call_id == WritingCall.id, Writing.submitted_at.is_not(None), Writing.withdrawn_at.is_(None))
        .correlate(WritingCall)
        .scalar_subquery()
    )


def calls(session: Session, *, only_open: bool) -> list[tuple[WritingCall, int]]:
    """Return calls with their counts of submitted writings, newest first; `only_open`: only those that want more."""
    found = select(WritingCall, _written()).order_by(WritingCall.id.desc())
    if only_open:
        found = found.where(WritingCall.closed_at.is_(None), _written() < WritingCall.wanted)
    return [(row[0], row[1]) for row in session.execute(found)]


# --- Drafts ---


def begin(session: Session, found: WritingCall, labeler: Account) -> Writing:
    """Return the labeler's draft for a call: the one begun earlier, or a new one."""
    draft = session.scalar(_own(labeler).where(Writing.call_id == found.id, Writing.submitted_at.is_(None)).limit(1))
    if draft:
        return draft
    check_wanted(session, found)
    empty = WritingContent().model_dump(mode="json")
    made = Writing(call_id=found.id, labeler_id=labeler.id, content=empty)
    session.add(made)
    session.flush()
    return find(session, made.public_id, labeler)


def check_wanted(session: Session, found: WritingCall) -> None:
    """Raise Conflict if the call is closed or has enough writings."""
    count = session.scalar(select(_written()).select_from(WritingCall).where(WritingCall.id == found.id)) or 0
    if found.closed_at is not None or count >= found.wanted:
        raise Conflict(_("No more prompts are wanted here. What you wrote is kept as a draft."))


def _own(labeler: Account) -> Select[Writing]:
    return (
        select(Writing)
        .join(Writing.call)
        .options(contains_eager(Writing.call))
        .where(Writing.labeler_id == labeler.id)
        .order_by(Writing.id.desc())
    )


def own(session: Session, labeler: Account, limit: int = 200) -> Sequence[Writing]:
    """Return the labeler's writings, drafts included, newest first."""
    return session.scalars(_own(labeler).limit(limit)).all()


def find(session: Session, public_id: str, labeler: Account) -> Writing:
    """Return one of the labeler's own writings; raise NotFound otherwise."""
    found = session.scalar(_own(labeler).where(Writing.public_id == public_id))
    if found is None:
        raise NotFound(_("Written prompt not found."))
    return found


def prompts_of(session: Session, writing: Writing) -> Sequence[Prompt]:
    """Return the prompts that a writing became."""
    return session.scalars(select(Prompt).where(Prompt.writing_id == writing.id).order_by(Prompt.id)).all()


def save(session: Session, writing: Writing, content: WritingContent, version: int) -> Writing:
    """Save a draft; raise Conflict with the stored draft if it changed since `version`."""
    check_is_draft(writing)
    changed = changed_rows(
        session,
        update(Writing)
        .where(Writing.id == writing.id, Writing.version == version, Writing.submitted_at.is_(None))
        .values(content=content.model_dump(mode="json"), version=version + 1, updated_at=utc_now())
        .execution_options(synchronize_session=False),
    )
    session.refresh(writing)
    if not changed and writing.content != content.model_dump(mode="json"):
        raise Conflict(
            _("This draft was changed elsewhere, in another tab or on another device. Nothing was overwritten."),
            current={"version": writing.version, "content": writing.content},
        )
    return writing


def check_is_draft(writing: Writing) -> None:
    """Raise Conflict if the writing has been submitted."""
    if writing.submitted_at is not None:
        raise Conflict(_("This has already been submitted."))


def discard(session: Session, writing: Writing) -> None:
    """Discard a draft."""
    check_is_draft(writing)
    session.delete(writing)
    session.flush()


def withdraw(session: Session, writing: Writing, by: Account) -> int:
    """Withdraw a writing with all its prompts, which new rounds leave out; return the number of prompts."""
    changed = changed_rows(
        session,
        update(Prompt)
        .where(Prompt.writing_id == writing.id, Prompt.withdrawn_at.is_(None))
        .values(withdrawn_at=utc_now()),
    )
    writing.withdrawn_at = writing.withdrawn_at or utc_now()
    accounts.record(session, by, "writing.withdraw", subject=writing.public_id, prompts=changed)
    session.flush()
    return changed


# --- Near-duplicates ---


def alike(session: Session, labeler: Account, text: str) -> str | None:
    """Return the text of the labeler's own near-duplicate, "" if any prompt has the same prefix, or None."""
    mine = session.scalars(
        select(Prompt)
        .where(Prompt.written_by_id == labeler.id, Prompt.withdrawn_at.is_(None))
        .where(Prompt.source != PromptSource.LABELER_FEW_SHOT)
        .order_by(Prompt.id.desc())
        .limit(COMPARED)
    )
    runs = _runs(text)
    for prompt in mine:
        other = _runs(prompt.messages[-1]["text"])
        if len(runs & other) > ALIKE * len(runs | other):
            return prompt.messages[-1]["text"]
    prefix = prefix_sha256(canonical([{"role": "user", "text": text}]))
    return "" if prefix and known_prefixes(session, [prefix]) else None


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))}


def has_open_call(session: Session) -> bool:
    """Return whether any open call wants more prompts."""
    wants = (WritingCall.closed_at.is_(None), _written() < WritingCall.wanted)
    return bool(session.scalar(select(exists(select(WritingCall.id).where(*wants)))))
