"""What may enter the prompt bank: the rules that keep a prompt out, and which split and collections one is in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from app.i18n import gettext as _
from app.kit.imports import FileMemory
from app.prompts import queries
from app.prompts.messages import MAX_TOKENS, folded_sha256, prefix_sha256, split_for, text_sha256, tokens
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.tables import Prompt, PromptCollection, PromptSource
from training.records import Split

OWNER_CAP = 200  # InstructGPT 3.2
_LOCK = 7_063_001  # any number: the advisory lock of the prompt bank


@dataclass(frozen=True)
class Decision:
    """What became of a draft, and the prompt that now stands for it, if any."""

    verdict: Verdict
    text_sha256: str
    prompt_id: int | None = None
    owner_split: Split | None = None
    joined: bool = False  # it was known, and is new in the draft's collection


class Admission:
    """Decides on prompts in order, knowing the bank and what it has let in itself.

    With `filters` it applies the length, the long common beginning (unless `keep_similar`) and the owner's cap; the
    rule that an owner has one split always holds. With `write=False` it only says what would happen; what it met
    before in the same file is in `memory`.
    """

    def __init__(
        self,
        session: Session,
        *,
        filters: bool = True,
        keep_similar: bool = False,
        write: bool = True,
        memory: FileMemory | None = None,
    ):
        self.session, self.filters, self.keep_similar, self.write = session, filters, keep_similar, write
        self.memory = None if write else memory
        self.texts: dict[str, int | None] = {}
        self.prefixes: set[str] = set()
        self.owners: dict[str, tuple[Split, int]] = {}
        self.members: set[tuple[int | str, str]] = set()  # (prompt's key, or its text's hash before it has one; name)
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
        if self.write:
            self._store(new, zip(drafts, decided, strict=True))
        elif self.memory is not None:
            self._remember(new)
        return [replace(decision, prompt_id=self.texts.get(decision.text_sha256)) for decision in decided]

    def _look_up(self, drafts: Sequence[PromptDraft], hashes: Sequence[str], prefixes: Sequence[str | None]) -> None:
        self.texts |= queries.ids_by_text(self.session, {one for one in hashes if one not in self.texts})
        if self.filters and not self.keep_similar:
            self.prefixes |= queries.known_prefixes(self.session, {one for one in prefixes if one})
        unknown = {draft.owner for draft in drafts if draft.owner and draft.owner not in self.owners}
        self.owners |= queries.owners(self.session, unknown)
        known = [id for one in hashes if (id := self.texts.get(one))]
        if known and any(draft.collection for draft in drafts):
            self.members |= queries.members(self.session, known)
        if self.memory is not None:
            self._recall(drafts, hashes, prefixes)

    def _recall(self, drafts: Sequence[PromptDraft], hashes: Sequence[str], prefixes: Sequence[str | None]) -> None:
        """Add what earlier rows of the file would have stored."""
        asked = [f"text {one}" for one in hashes] + [f"prefix {one}" for one in prefixes if one]
        asked += [f"owner {draft.owner}" for draft in drafts if draft.owner]
        asked += [_membership(one, draft.collection) for one, draft in zip(hashes, drafts, strict=True)]
        for key, value in self.memory.find(asked).items():
            kind, _space, name = key.partition(" ")
            if kind == "text":
                self.texts.setdefault(name, None)
            elif kind == "prefix":
                self.prefixes.add(name)
            elif kind == "owner":
                split, count = value.split()
                self.owners[name] = (Split(split), int(count))
            else:
                self.members.add((name[:64], name[65:]))

    def _remember(self, new: Sequence[Mapping]) -> None:
        kept = {f"text {one['text_sha256']}": 1 for one in new}
        kept |= {f"prefix {one['prefix_sha256']}": 1 for one in new if one["prefix_sha256"]}
        owners = {one["owner"] for one in new if one["owner"]}
        kept |= {f"owner {name}": "{} {}".format(*self.owners[name]) for name in owners}
        kept |= {_membership(digest, name): 1 for digest, name in self.members if isinstance(digest, str)}
        self.memory.keep(kept)

    def _decide(self, draft: PromptDraft, digest: str, prefix: str | None) -> Decision:
        if digest in self.texts:
            return Decision(Verdict.KNOWN, digest, joined=self._joins(draft, digest))
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

    def _joins(self, draft: PromptDraft, digest: str) -> bool:
        """Whether a known prompt is new in the draft's collection; it is in it from now on."""
        keys = [(key, draft.collection) for key in (self.texts[digest], digest) if key]
        joins = bool(draft.collection) and self.members.isdisjoint(keys)
        self.members.update(keys)
        return joins

    def _enter(self, draft: PromptDraft, digest: str, prefix: str | None, split: Split) -> dict:
        self.texts[digest] = None
        self.members.add((digest, draft.collection))
        if prefix and draft.source is not PromptSource.LABELER_FEW_SHOT:
            self.prefixes.add(prefix)
        if draft.owner:
            self.owners[draft.owner] = (split, self.owners.get(draft.owner, (split, 0))[1] + 1)
        return {
            "messages": [message.model_dump() for message in draft.messages],
            "text_sha256": digest,
            "folded_sha256": folded_sha256(draft.messages),
            "prefix_sha256": prefix,
            "source": draft.source,
            "use_case": draft.use_case,
            "owner": draft.owner,
            "split": split,
            "answers": draft.answers,
            "written_by_id": draft.written_by_id,
            "writing_id": draft.writing_id,
        }

    def _store(self, new: Sequence[dict], decided: Iterable[tuple[PromptDraft, Decision]]) -> None:
        if new:
            # The table, not the class: a third of the time of a bulk insert by the ORM.
            made = insert(Prompt.__table__).returning(Prompt.text_sha256, Prompt.id)
            stored = self.session.connection().execute(made, new)
            self.texts.update((digest, id) for digest, id in stored)
        members = {
            (self.texts[decision.text_sha256], draft.collection)
            for draft, decision in decided
            if draft.collection and (decision.verdict is Verdict.ADDED or decision.joined)
        }
        if members:
            rows = [{"prompt_id": id, "name": name} for id, name in sorted(members)]
            self.session.connection().execute(insert(PromptCollection.__table__), rows)


def _membership(text_sha256: str, collection: str) -> str:
    return f"member {text_sha256} {collection}"


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
