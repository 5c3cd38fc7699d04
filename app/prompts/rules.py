"""The prompt bank: what may enter it, which split a prompt belongs to, and how one leaves it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from sqlalchemy import delete, insert, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.database import utc_now
from app.errors import BadInput, NotFound
from app.guidelines.rules import check_answers
from app.guidelines.schemas import PromptAnswer
from app.i18n import gettext as _
from app.prompts import queries
from app.prompts.messages import MAX_TOKENS, canonical, prefix_sha256, split_for, text_sha256, tokens
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.tables import Prompt, PromptSource
from training.records import Message, Split, UseCase

OWNER_CAP = 200  # InstructGPT 3.2
_LOCK = 7_063_001  # any number: the advisory lock of the prompt bank


@dataclass(frozen=True)
class Decision:
    """What became of a draft, and the prompt that now stands for it, if any."""

    verdict: Verdict
    text_sha256: str
    prompt_id: int | None = None
    owner_split: Split | None = None


class Admission:
    """Decides on prompts in order, knowing the bank and what it has let in itself.

    With `filters` it applies the length, the long common beginning (unless `keep_similar`) and the owner's cap; the
    rule that an owner has one split always holds. With `write=False` it only says what would happen.
    """

    def __init__(self, session: Session, *, filters: bool = True, keep_similar: bool = False, write: bool = True):
        self.session, self.filters, self.keep_similar, self.write = session, filters, keep_similar, write
        self.texts: dict[str, int | None] = {}
        self.prefixes: set[str] = set()
        self.owners: dict[str, tuple[Split, int]] = {}
        if write and session.get_bind().dialect.name == "postgresql":
            # The cap and an owner's split look before they leap; SQLite has one writer anyway.
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def take(self, drafts: Sequence[PromptDraft]) -> list[Decision]:
        """Decide on a batch and store what is let in."""
        hashes = [text_sha256(draft.messages) for draft in drafts]
        prefixes = [prefix_sha256(draft.messages) for draft in drafts]
        self._look_up(drafts, hashes, prefixes)
        decided, new = [], []
        for draft, digest, prefix in zip(drafts, hashes, prefixes, strict=True):
            decision = self._decide(draft, digest, prefix)
            decided.append(decision)
            if decision.verdict is Verdict.ADDED:
                new.append(self._enter(draft, digest, prefix, decision.owner_split))
        if new and self.write:
            # The table, not the class: a third of the time of a bulk insert by the ORM.
            made = insert(Prompt.__table__).returning(Prompt.text_sha256, Prompt.id)
            stored = self.session.connection().execute(made, new)
            self.texts.update((digest, id) for digest, id in stored)
        return [replace(decision, prompt_id=self.texts.get(decision.text_sha256)) for decision in decided]

    def _look_up(self, drafts: Sequence[PromptDraft], hashes: Sequence[str], prefixes: Sequence[str | None]) -> None:
        self.texts |= queries.ids_by_text(self.session, {one for one in hashes if one not in self.texts})
        if self.filters and not self.keep_similar:
            self.prefixes |= queries.known_prefixes(self.session, {one for one in prefixes if one})
        unknown = {draft.owner for draft in drafts if draft.owner and draft.owner not in self.owners}
        self.owners |= queries.owners(self.session, unknown)

    def _decide(self, draft: PromptDraft, digest: str, prefix: str | None) -> Decision:
        if digest in self.texts:
            return Decision(Verdict.KNOWN, digest)
        own, count = self.owners.get(draft.owner, (None, 0))
        if own and draft.split and own is not draft.split:
            return Decision(Verdict.SPLIT, digest, owner_split=own)
        if self.filters:
            if tokens(draft.messages) > MAX_TOKENS:
                return Decision(Verdict.TOO_LONG, digest)
            few_shot = draft.source is PromptSource.LABELER_FEW_SHOT
            if not self.keep_similar and not few_shot and prefix in self.prefixes:
                return Decision(Verdict.SIMILAR, digest)
            if draft.owner and count >= OWNER_CAP:
                return Decision(Verdict.OVER_CAP, digest)
        return Decision(Verdict.ADDED, digest, owner_split=own or draft.split or split_for(draft.owner or digest))

    def _enter(self, draft: PromptDraft, digest: str, prefix: str | None, split: Split) -> dict:
        self.texts[digest] = None
        if prefix and draft.source is not PromptSource.LABELER_FEW_SHOT:
            self.prefixes.add(prefix)
        if draft.owner:
            self.owners[draft.owner] = (split, self.owners.get(draft.owner, (split, 0))[1] + 1)
        return {
            "messages": [message.model_dump() for message in draft.messages],
            "text_sha256": digest,
            "prefix_sha256": prefix,
            "source": draft.source,
            "use_case": draft.use_case,
            "owner": draft.owner,
            "split": split,
            "collection": draft.collection,
            "answers": draft.answers,
            "written_by_id": draft.written_by_id,
            "writing_id": draft.writing_id,
        }


def forget(session: Session, prompt_id: int) -> None:
    """Delete a prompt that nothing points to any more; one in use stays."""
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
    """Store a prompt, or find it if its text is there already; `filters` refuses too long, similar, over the cap.

    Without a split, the owner's (or the text's own) hash chooses it.
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
    return session.get_one(Prompt, decision.prompt_id)


def refusal(decision: Decision, draft: PromptDraft) -> str:
    """Why a draft was kept out, and the way out."""
    if decision.verdict is Verdict.SPLIT:
        return _(
            "The prompts of owner “%(owner)s” are in the split %(own)s, so this one cannot be in %(split)s: "
            "leave the split out or change the owner."
        ) % {"owner": draft.owner, "own": decision.owner_split, "split": draft.split}
    if decision.verdict is Verdict.TOO_LONG:
        return _("Longer than %(most)d tokens; shorten it.") % {"most": MAX_TOKENS}
    if decision.verdict is Verdict.OVER_CAP:
        return _("Owner “%(owner)s” has %(cap)d prompts already; withdraw one first.") % {
            "owner": draft.owner,
            "cap": OWNER_CAP,
        }
    assert decision.verdict is Verdict.SIMILAR, decision
    return _("It begins with the same 200 characters as another prompt; ask something else, or keep similar ones.")


def refused_field(decision: Decision) -> str:
    """The field that a refusal is about."""
    return {Verdict.SPLIT: "split", Verdict.OVER_CAP: "owner"}.get(decision.verdict, "prompt")


def prompt(session: Session, public_id: str) -> Prompt:
    """One prompt, or NotFound."""
    found = queries.prompt(session, public_id)
    if found is None:
        raise NotFound(_("There is no such prompt."))
    return found


def withdraw(session: Session, prompt: Prompt, by: Account | None) -> None:
    """Take a prompt out of lists and new rounds; what was answered for it stays."""
    changed = session.execute(
        update(Prompt).where(Prompt.id == prompt.id, Prompt.withdrawn_at.is_(None)).values(withdrawn_at=utc_now())
    )
    if changed.rowcount:
        accounts.record(session, by, "prompt.withdraw", subject=prompt.public_id)


def restore(session: Session, prompt: Prompt, by: Account | None) -> None:
    """Undo a withdrawal."""
    changed = session.execute(
        update(Prompt).where(Prompt.id == prompt.id, Prompt.withdrawn_at.is_not(None)).values(withdrawn_at=None)
    )
    if changed.rowcount:
        accounts.record(session, by, "prompt.restore", subject=prompt.public_id)


def learn(
    session: Session,
    prompt: Prompt,
    *,
    use_case: UseCase | None,
    answers: Mapping[str, bool],
    said_before: tuple[UseCase | None, Mapping[str, bool]] = (None, {}),
) -> None:
    """Take what a labeler says of a prompt where nothing else is known; `said_before` is what the same one said."""
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
    """Set what is known about a prompt: its use case and the answers of the prompt form."""
    prompt.use_case = use_case
    prompt.answers = check_answers(answers)
    session.flush()
    accounts.record(session, by, "prompt.describe", subject=prompt.public_id)
