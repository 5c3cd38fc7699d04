"""Rules for the prompt bank: adding, describing, withdrawing and restoring prompts."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.database import changed_rows, utc_now
from app.errors import BadInput, NotFound
from app.guidelines.rules import check_answers
from app.guidelines.schemas import PromptAnswer
from app.kit.i18n import gettext as _
from app.prompts import queries
from app.prompts.admission import Admission, refusal, refused_field
from app.prompts.messages import canonical
from app.prompts.schemas import PromptDraft
from app.prompts.tables import Prompt, PromptSource
from training.contract.records import Message, Split, UseCase


def forget(session: Session, prompt_id: int) -> None:
    """Delete a prompt unless something still refers to it."""
    with suppress(IntegrityError), session.begin_nested():
        session.execute(delete(Prompt).where(Prompt.id == prompt_id))


def add(
    session: Session,
    *,
    messages: Iterable[Message | Mapping[str, object]],
    source: PromptSource,
    use_case: UseCase | None = None,
    owner: str = "",
    split: Split | None = None,
    collection: str = "",
    answers: Mapping[str, bool | None] | None = None,
    written_by: Account | None = None,
    writing_id: int | None = None,
    filters: bool = False,
    keep_similar: bool = False,
) -> Prompt:
    """Store a prompt, or return the stored one with the same text; raises BadInput if it is not admitted.

    `filters` rejects prompts that are too long, near-duplicates (unless `keep_similar`) or beyond the owner's cap.
    Without a split, the hash of the owner, or else of the text, chooses one.
    """
    draft = PromptDraft(
        messages=canonical(messages),
        source=source,
        use_case=use_case,
        owner=owner.strip(),
        split=split,
        collection=collection.strip(),
        answers=check_answers(answers or {}),
        written_by_id=written_by.id if written_by else None,
        writing_id=writing_id,
    )
    (decision,) = Admission(session, filters=filters, keep_similar=keep_similar).take([draft])
    if decision.prompt_id is None:
        raise BadInput(refusal(decision, draft), field=refused_field(decision))
    return queries.by_ids(session, [decision.prompt_id])[decision.prompt_id]


def prompt(session: Session, public_id: str) -> Prompt:
    """Return the prompt with this public id, or raise NotFound."""
    found = queries.prompt(session, public_id)
    if found is None:
        raise NotFound(_("Prompt not found."))
    return found


def withdraw(session: Session, prompt: Prompt, by: Account | None) -> None:
    """Withdraw a prompt from lists and new rounds; existing answers stay."""
    changed = changed_rows(
        session,
        update(Prompt).where(Prompt.id == prompt.id, Prompt.withdrawn_at.is_(None)).values(withdrawn_at=utc_now()),
    )
    if changed:
        accounts.record(session, by, "prompt.withdraw", subject=prompt.public_id)


def restore(session: Session, prompt: Prompt, by: Account | None) -> None:
    """Restore a withdrawn prompt."""
    changed = changed_rows(
        session,
        update(Prompt).where(Prompt.id == prompt.id, Prompt.withdrawn_at.is_not(None)).values(withdrawn_at=None),
    )
    if changed:
        accounts.record(session, by, "prompt.restore", subject=prompt.public_id)


def fill_metadata(
    session: Session,
    prompt: Prompt,
    *,
    use_case: UseCase | None,
    answers: Mapping[str, bool],
    said_before: tuple[UseCase | None, Mapping[str, bool]] = (None, {}),
) -> None:
    """Fill unknown prompt metadata from a labeler's answers; `said_before`, the same labeler's, may be overwritten."""
    was, had = said_before
    if prompt.use_case in (None, was):
        prompt.use_case = use_case or prompt.use_case
    table_7 = {name: said for name, said in answers.items() if name in set(PromptAnswer)}
    news = {name: said for name, said in table_7.items() if prompt.answers.get(name) in (None, had.get(name))}
    if news.items() - prompt.answers.items():
        prompt.answers = prompt.answers | news
    session.flush()


def describe(
    session: Session,
    prompt: Prompt,
    *,
    use_case: UseCase | None,
    answers: Mapping[str, bool | None],
    by: Account | None,
) -> None:
    """Set a prompt's use case and its answers to the prompt form."""
    prompt.use_case = use_case
    prompt.answers = check_answers(answers)
    session.flush()
    accounts.record(session, by, "prompt.describe", subject=prompt.public_id)
