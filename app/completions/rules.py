"""Rules for completions: identical texts of a policy for a prompt are stored once."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.completions import queries
from app.completions.tables import Completion
from app.database import insert_into
from app.errors import NotFound
from app.kit.i18n import gettext as _
from app.kit.text import normal_form, require_text
from app.policies.tables import Policy
from app.prompts.tables import Prompt


@dataclass(frozen=True)
class CompletionDraft:
    """A completion before it is stored."""

    prompt_id: int
    policy_id: int
    text: str
    settings: Mapping[str, object] = field(default_factory=dict)
    tokens: int | None = None
    finished: bool | None = None

    @cached_property
    def key(self) -> tuple[int, int, str]:
        """Identity of the completion: prompt id, policy id, and hash of the text in normal form."""
        return self.prompt_id, self.policy_id, text_sha256(self.text)


def text_sha256(text: str) -> str:
    """Return the hash that identifies a completion of a prompt: that of its text in normal form."""
    return hashlib.sha256(normal_form(text).encode()).hexdigest()


def add_all(session: Session, drafts: Sequence[CompletionDraft]) -> list[int]:
    """Store completions, skipping those already stored; returns all ids in the given order."""
    keys = [draft.key for draft in drafts]
    known = queries.stored(session, keys)
    if new := {key: draft for key, draft in zip(keys, drafts, strict=True) if key not in known}:
        insert_all(session, new.values())
        known |= queries.stored(session, new)
    return [known[key] for key in keys]


def insert_all(session: Session, drafts: Iterable[CompletionDraft]) -> None:
    """Insert completions, leaving those already stored unchanged."""
    rows = [
        {
            "prompt_id": draft.prompt_id,
            "policy_id": draft.policy_id,
            "text": draft.text,
            "text_sha256": draft.key[2],
            "settings": dict(draft.settings),
            "tokens": draft.tokens,
            "finished": draft.finished,
        }
        for draft in drafts
    ]
    # Through the table, not the class: takes a third of the time of an ORM bulk insert.
    session.connection().execute(insert_into(session, Completion.__table__).on_conflict_do_nothing(), rows)


def add(
    session: Session,
    prompt: Prompt,
    policy: Policy,
    text: str,
    *,
    settings: Mapping[str, object] | None = None,
    tokens: int | None = None,
    finished: bool | None = None,
) -> Completion:
    """Store a completion, or return the stored one if this policy wrote the same text for this prompt before."""
    (id,) = add_all(
        session, [CompletionDraft(prompt.id, policy.id, require_text(text, "text"), settings or {}, tokens, finished)]
    )
    return session.get_one(Completion, id)


def forget(session: Session, completion_id: int) -> None:
    """Delete a completion unless something still refers to it."""
    with suppress(IntegrityError), session.begin_nested():
        session.execute(delete(Completion).where(Completion.id == completion_id))


def completion(session: Session, public_id: str) -> Completion:
    """Return a completion with its prompt and policy, or raise NotFound."""
    found = queries.completion(session, public_id)
    if found is None:
        raise NotFound(_("Completion not found."))
    return found
