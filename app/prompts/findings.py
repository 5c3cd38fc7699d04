"""Decisions on personal data found in prompts: mask it, allow it, or drop the prompt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session, contains_eager, joinedload

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.database import transaction, utc_now
from app.errors import Conflict, NotFound
from app.kit import cursors
from app.kit.i18n import gettext as _
from app.kit.words import word
from app.prompts import rules as prompts
from app.prompts.examination import keys, store_likeness
from app.prompts.hygiene.kinds import PLACEHOLDERS, PersonalData
from app.prompts.messages import folded_sha256, prefix_sha256, stored, text_sha256
from app.prompts.similar import Kept, Similar
from app.prompts.tables import Finding, FindingState, NearPrompts, Prompt, PromptBand

CONTEXT = 60  # characters shown before and after a finding
BATCH = 100  # findings per transaction


class Action(StrEnum):
    """An action on a finding."""

    MASK = "mask"  # its text is replaced permanently
    ALLOW = "allow"  # it is not personal data, or may stay
    DROP = "drop"  # the prompt is withdrawn
    REOPEN = "reopen"  # it was allowed, and is open again


@dataclass(frozen=True)
class Shown:
    """A finding with the text around it."""

    finding: Finding
    before: str
    found: str
    behind: str

    @classmethod
    def of(cls, finding: Finding) -> "Shown":
        """Build from a row whose prompt is loaded."""
        text = finding.prompt.messages[finding.message]["text"]
        before, behind = text[: finding.start], text[finding.stop :]
        return cls(
            finding,
            "…" * (len(before) > CONTEXT) + before[-CONTEXT:],
            text[finding.start : finding.stop],
            behind[:CONTEXT] + "…" * (len(behind) > CONTEXT),
        )


# --- Open findings ---


def _open(kind: PersonalData | None = None) -> Select[Finding]:
    # Findings in a withdrawn prompt are hidden until it is restored.
    found = (
        select(Finding)
        .join(Finding.prompt)
        .where(Finding.state == FindingState.OPEN, Prompt.withdrawn_at.is_(None))
        .options(contains_eager(Finding.prompt))
    )
    return found.where(Finding.kind == kind) if kind else found


def page(
    session: Session, kind: PersonalData | None, cursor: str | None, limit: int
) -> tuple[list[Finding], str | None]:
    """Return a page of open findings, oldest first, and the next cursor."""
    return cursors.page(session, _open(kind), Finding, cursor, limit, oldest_first=True)


def counts(session: Session) -> dict[PersonalData, int]:
    """Count the open findings of each kind that has any, in the order of PersonalData."""
    rows = session.execute(
        select(Finding.kind, func.count())
        .join(Finding.prompt)
        .where(Finding.state == FindingState.OPEN, Prompt.withdrawn_at.is_(None))
        .group_by(Finding.kind)
    )
    found = {kind: count for kind, count in rows}
    return {kind: found[kind] for kind in PersonalData if kind in found}


def of_prompt(session: Session, prompt: Prompt) -> Sequence[Finding]:
    """Return all findings in a prompt, open or decided."""
    query = select(Finding).where(Finding.prompt_id == prompt.id).order_by(Finding.message, Finding.start)
    return session.scalars(query.options(joinedload(Finding.prompt))).all()


def newest(session: Session) -> str:
    """Return the public id of the newest finding, "" if none; later findings were not shown."""
    return session.scalar(select(Finding.public_id).order_by(Finding.id.desc()).limit(1)) or ""


def find(session: Session, public_id: str) -> Finding:
    """Return a finding, or raise NotFound; locks its prompt's findings until the transaction ends."""
    named = Finding.public_id == public_id
    _lock(session, session.scalars(select(Finding.prompt_id).where(named)))
    found = session.scalar(select(Finding).where(named).options(joinedload(Finding.prompt)))
    if found is None:
        raise NotFound(_("Finding %(id)s not found.") % {"id": public_id})
    return found


def _lock(session: Session, prompt_ids: Iterable[int]) -> None:
    # Always lock the prompt, since masking changes its text and the places of all findings in it.
    wanted = Prompt.id.in_(list(prompt_ids))
    session.execute(select(Prompt.id).where(wanted).order_by(Prompt.id).with_for_update())


# --- Deciding ---


def decide_all(kind: PersonalData | None, action: Action, until: str, by: Account) -> int:
    """Make the same decision on every open finding (of a kind) up to the one with id `until`; returns how many."""
    count = 0
    while True:
        with transaction() as session:
            wanted = _open(kind).where(Finding.id <= cursors.last_shown(session, Finding, until)).order_by(Finding.id)
            prompt_ids = {finding.prompt_id for finding in session.scalars(wanted.limit(BATCH))}
            if not prompt_ids:
                return count
            _lock(session, prompt_ids)
            theirs = wanted.where(Finding.prompt_id.in_(prompt_ids)).execution_options(populate_existing=True)
            for finding in session.scalars(theirs).all():
                if not finding.prompt.withdrawn_at:  # else just dropped for another finding
                    decide(session, finding, action, by)
                count += 1


def decide(session: Session, finding: Finding, action: Action, by: Account | None) -> None:
    """Decide on a finding; raises Conflict unless it is open or, for Action.REOPEN, allowed."""
    possible = FindingState.ALLOWED if action is Action.REOPEN else FindingState.OPEN
    if finding.state is not possible:
        raise Conflict(
            _("This finding has been decided in the meantime: it is %(state)s.") % {"state": word(finding.state)}
        )
    if action is Action.DROP:
        prompts.withdraw(session, finding.prompt, by)
        session.refresh(finding.prompt)
    elif action is Action.MASK:
        _mask(session, finding)
    if action is not Action.DROP:
        finding.state = {Action.MASK: FindingState.MASKED, Action.ALLOW: FindingState.ALLOWED}.get(
            action, FindingState.OPEN
        )
        finding.decided_by_id, finding.decided_at = (by.id if by else None), utc_now()
    session.flush()
    accounts.record(
        session, by, f"personal_data.{action}", finding.prompt.public_id, kind=finding.kind, finding=finding.public_id
    )


def _mask(session: Session, finding: Finding) -> None:
    """Replace the found text with its placeholder, and shift the places of later findings in the message."""
    prompt, placeholder = finding.prompt, PLACEHOLDERS[finding.kind]
    text = prompt.messages[finding.message]["text"]
    masked = text[: finding.start] + placeholder + text[finding.stop :]
    moved = len(placeholder) - (finding.stop - finding.start)
    session.execute(
        update(Finding)
        .where(Finding.prompt_id == prompt.id, Finding.message == finding.message, Finding.start >= finding.stop)
        .values(start=Finding.start + moved, stop=Finding.stop + moved)
    )
    finding.stop = finding.start + len(placeholder)
    prompt.messages = [
        {**message, "text": masked} if number == finding.message else message
        for number, message in enumerate(prompt.messages)
    ]
    _say_again(session, prompt)


def _say_again(session: Session, prompt: Prompt) -> None:
    """Update the hashes, bands and links of a prompt whose text changed.

    The original text_sha256 stays, because the file that the prompt came from still has that text.
    """
    messages = stored(prompt.messages)
    prompt.masked_sha256 = text_sha256(messages)
    prompt.folded_sha256 = folded_sha256(messages)
    prompt.prefix_sha256 = prefix_sha256(messages)
    session.execute(delete(PromptBand).where(PromptBand.prompt_id == prompt.id))
    bands = keys(messages, prompt.source)
    similar = Similar(session)
    similar.look_up([], [bands])
    linked = set(session.scalars(select(NearPrompts.near_id).where(NearPrompts.prompt_id == prompt.id)))
    near = set(similar.near_ids(messages, bands)) - linked - {prompt.id}
    roomy = similar.enter(prompt.id, Kept(prompt.split, messages, prompt.id, prompt.public_id), None, bands)
    store_likeness(session, ((band, prompt.id) for band in roomy), ((prompt.id, other) for other in sorted(near)))
