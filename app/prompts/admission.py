"""Admission to the prompt bank: the rules that keep a prompt out, and the choice of its split and collections."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.kit.imports import FileMemory, ImportReport
from app.prompts import queries
from app.prompts.examination import Examined, examine, store_findings, store_likeness
from app.prompts.messages import MAX_TOKENS, folded_sha256, prefix_sha256, split_for, text_sha256, tokens
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.similar import Kept, Similar
from app.prompts.tables import Prompt, PromptCollection, PromptSource
from training.contract.records import Split, strictest

OWNER_CAP = 200  # InstructGPT 3.2
PERSONAL_DATA = N_("Prompts with personal data, left out of snapshots until an admin decides: %(n)d.")
OTHER_SPLIT = N_("Prompts already stored in a different split than the row specifies, which keep their split: %(n)d.")
NEAR = N_("Prompts that are near-duplicates of another prompt, with both in the stricter split: %(n)d.")
_LOCK = 7_063_001  # arbitrary number of the prompt bank's advisory lock


@dataclass(frozen=True)
class Decision:
    """Outcome for a draft, and the stored prompt with its text, if any."""

    verdict: Verdict
    text_sha256: str
    prompt_id: int | None = None
    split: Split | None = None  # its own; for Verdict.SPLIT, the owner's
    joined: bool = False  # already stored, and new in the draft's collection
    stays: bool = False  # already stored in a different split than the draft asks for
    like: Kept | None = None  # the prompt with the same beginning, or the near-duplicate
    has_personal_data: bool = False


class Admission:
    """Decides on prompts in order, against the bank and the prompts it has admitted so far.

    `filters` applies the limits on length, near-duplicates (unless `keep_similar`) and prompts per owner; the rule that
    an owner has one split always holds. `write=False` only reports what would happen. `memory` belongs to the file that
    the drafts come from, if any.
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
        self.looked = memory.before if write and memory else None
        self.similar = Similar(session, self.memory)
        self.texts: dict[str, int | None] = {}
        self.splits: dict[str, Split] = {}  # of known texts for which a draft asked for one
        self.owners: dict[str, tuple[Split, int]] = {}
        self.members: set[tuple[int | str, str]] = set()  # (prompt's id, or its text hash before it has one; name)
        self.near: dict[str, list[Kept]] = {}  # by text hash: near-duplicates of an admitted prompt
        self.bands: dict[str, list[int]] = {}
        if write and session.get_bind().dialect.name == "postgresql":
            # The cap and the owner's split are checked before the insert; SQLite has a single writer anyway.
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})

    def take(self, drafts: Sequence[PromptDraft]) -> list[Decision]:
        """Decide on a batch and store the admitted prompts."""
        hashes = [text_sha256(draft.messages) for draft in drafts]
        prefixes = [prefix_sha256(draft.messages) for draft in drafts]
        self._look_up(drafts, hashes)
        examined = self._examine(drafts, hashes)
        self.similar.look_up(filter(None, prefixes), [one.bands for one in examined.values()])
        decided, new = [], {}
        for draft, digest, prefix in zip(drafts, hashes, prefixes, strict=True):
            if digest in self.texts:
                decision = self._known(draft, digest)
            else:
                decision = self._decide(draft, digest, prefix, examined[digest])
            decided.append(decision)
            if decision.verdict is Verdict.ADDED:
                new[digest] = self._enter(draft, decision, prefix, examined[digest])
        if self.write:
            self._store(new, examined, zip(drafts, decided, strict=True))
        elif self.memory is not None:
            self._remember(self.memory, new)
        return [replace(decision, prompt_id=self.texts.get(decision.text_sha256)) for decision in decided]

    def _look_up(self, drafts: Sequence[PromptDraft], hashes: Sequence[str]) -> None:
        self.texts |= queries.ids_by_text(self.session, {one for one in hashes if one not in self.texts})
        unknown = {draft.owner for draft in drafts if draft.owner and draft.owner not in self.owners}
        self.owners |= queries.owners(self.session, unknown)
        asked = {
            id: one for draft, one in zip(drafts, hashes, strict=True) if draft.split and (id := self.texts.get(one))
        }
        self.splits |= {asked[id]: split for id, split in queries.splits(self.session, asked)}
        known = [id for one in hashes if (id := self.texts.get(one))]
        if known and any(draft.collection for draft in drafts):
            self.members |= queries.members(self.session, known)
        if self.memory is not None:
            self._recall(self.memory, drafts, hashes)

    def _recall(self, memory: FileMemory, drafts: Sequence[PromptDraft], hashes: Sequence[str]) -> None:
        """Add what earlier rows of the file would have stored, in a dry run."""
        asked = [f"text {one}" for one in hashes]
        asked += [f"owner {draft.owner}" for draft in drafts if draft.owner]
        asked += [_membership(one, draft.collection) for one, draft in zip(hashes, drafts, strict=True)]
        for key, value in memory.find(asked).items():
            kind, _space, name = key.partition(" ")
            if kind == "text":
                self.texts.setdefault(name, None)
                self.splits.setdefault(name, Split(value))
            elif kind == "owner":
                split, count = value.split()
                self.owners[name] = (Split(split), int(count))
            else:
                self.members.add((name[:64], name[65:]))

    def _remember(self, memory: FileMemory, new: Mapping[str, Mapping]) -> None:
        kept: dict[str, str] = {f"text {digest}": one["split"] for digest, one in new.items()}
        owners = {one["owner"] for one in new.values() if one["owner"]}
        kept |= {f"owner {name}": "{} {}".format(*self.owners[name]) for name in owners}
        kept |= {_membership(digest, name): "" for digest, name in self.members if isinstance(digest, str)}
        memory.keep(kept)
        self.similar.remember(
            memory, {digest: (one["prefix_sha256"], self.bands[digest]) for digest, one in new.items()}
        )

    def _examine(self, drafts: Sequence[PromptDraft], hashes: Sequence[str]) -> dict[str, Examined]:
        """Examine each new text once per import; returns the results by text hash."""
        new = {digest: draft for digest, draft in zip(hashes, drafts, strict=True) if digest not in self.texts}
        keys = {f"examined {digest}": digest for digest in new}
        looked = self.looked.find(keys) if self.looked is not None else {}
        found = {keys[key]: Examined.from_json(given) for key, given in looked.items()}
        found |= {digest: examine(draft.messages, draft.source) for digest, draft in new.items() if digest not in found}
        if self.memory is not None:
            self.memory.keep({f"examined {digest}": one.as_json() for digest, one in found.items()})
        return found

    def _known(self, draft: PromptDraft, digest: str) -> Decision:
        stays = draft.split is not None and self.splits.get(digest, draft.split) is not draft.split
        return Decision(Verdict.KNOWN, digest, joined=self._joins(draft, digest), stays=stays)

    def _decide(self, draft: PromptDraft, digest: str, prefix: str | None, examined: Examined) -> Decision:
        own, count = self.owners.get(draft.owner, (None, 0))
        if own and draft.split and own is not draft.split:
            return Decision(Verdict.SPLIT, digest, split=own)
        near = self.similar.near(draft.messages, examined.bands)
        if self.filters:
            if tokens(draft.messages) > MAX_TOKENS:
                return Decision(Verdict.TOO_LONG, digest)
            if not self.keep_similar and draft.source is not PromptSource.LABELER_FEW_SHOT:
                if like := self.similar.with_prefix(prefix):
                    return Decision(Verdict.SAME_BEGINNING, digest, like=like)
                if near:
                    return Decision(Verdict.SIMILAR, digest, like=near[0])
            if draft.owner and count >= OWNER_CAP:
                return Decision(Verdict.OVER_CAP, digest)
        self.near[digest] = near
        split = own or draft.split
        if split is None:
            twins = [] if draft.owner else [one.split for one in near]
            split = strictest(twins) if twins else split_for(draft.owner or digest)
        return Decision(
            Verdict.ADDED,
            digest,
            split=split,
            like=near[0] if near else None,
            has_personal_data=bool(examined.hits),
        )

    def _joins(self, draft: PromptDraft, digest: str) -> bool:
        """Return whether a known prompt is new in the draft's collection, and count it as a member from now on."""
        keys = [(key, draft.collection) for key in (self.texts[digest], digest) if key]
        joins = bool(draft.collection) and self.members.isdisjoint(keys)
        self.members.update(keys)
        return joins

    def _enter(self, draft: PromptDraft, decision: Decision, prefix: str | None, examined: Examined) -> dict:
        digest, split = decision.text_sha256, decision.split
        assert split is not None, decision  # an admitted prompt has one
        self.texts[digest], self.splits[digest] = None, split
        self.members.add((digest, draft.collection))
        few_shot = draft.source is PromptSource.LABELER_FEW_SHOT
        kept = Kept(split, draft.messages)
        self.bands[digest] = self.similar.enter(digest, kept, None if few_shot else prefix, examined.bands)
        if draft.owner:
            count = self.owners.get(draft.owner, (split, 0))[1]
            self.owners[draft.owner] = (split, count + 1)
        return {
            "messages": [message.model_dump() for message in draft.messages],
            "text_sha256": digest,
            "folded_sha256": folded_sha256(draft.messages),
            "prefix_sha256": prefix,
            "source": draft.source,
            "use_case": draft.use_case,
            "owner": draft.owner,
            "split": split,
            "language": examined.language,
            "answers": draft.answers,
            "written_by_id": draft.written_by_id,
            "writing_id": draft.writing_id,
        }

    def _store(
        self,
        new: Mapping[str, dict],
        examined: Mapping[str, Examined],
        decided: Iterable[tuple[PromptDraft, Decision]],
    ) -> None:
        if new:
            # Through the table, not the class: takes a third of the time of an ORM bulk insert.
            made = insert(Prompt.__table__).returning(Prompt.text_sha256, Prompt.id)
            stored = self.session.connection().execute(made, list(new.values()))
            self.texts.update((digest, id) for digest, id in stored)
            ids = {digest: self._id(digest) for digest in new}
            store_findings(self.session, ((id, examined[digest]) for digest, id in ids.items()))
            store_likeness(
                self.session,
                ((band, id) for digest, id in ids.items() for band in self.bands[digest]),
                sorted({(id, self._id_of(one)) for digest, id in ids.items() for one in self.near[digest]}),
            )
        members = {
            (self._id(decision.text_sha256), draft.collection)
            for draft, decision in decided
            if draft.collection and (decision.verdict is Verdict.ADDED or decision.joined)
        }
        if members:
            rows = [{"prompt_id": id, "name": name} for id, name in sorted(members)]
            self.session.connection().execute(insert(PromptCollection.__table__), rows)

    def _id(self, digest: str) -> int:
        id = self.texts[digest]
        assert id is not None, digest  # once stored, every known text has one
        return id

    def _id_of(self, kept: Kept) -> int:
        return kept.prompt_id or self._id(text_sha256(kept.messages))


def _membership(text_sha256: str, collection: str) -> str:
    return f"member {text_sha256} {collection}"


def remark(decision: Decision, report: ImportReport) -> None:
    """Count the remarks on an admitted or known prompt, which an import prints at its end."""
    report.remarks.update([OTHER_SPLIT] * decision.stays)
    if decision.verdict is Verdict.ADDED:
        report.remarks.update([PERSONAL_DATA] * decision.has_personal_data + [NEAR] * bool(decision.like))


def reason(decision: Decision) -> str:
    """Return why a near-duplicate was kept out, without its particulars, so that equal reasons are counted together."""
    if decision.verdict is Verdict.SAME_BEGINNING:
        return _("It begins with the same 200 characters as another prompt; to import it, keep near-duplicates.")
    if decision.verdict is Verdict.SIMILAR:
        return _("It is a near-duplicate of another prompt; to import it, keep near-duplicates.")
    return ""


def refusal(decision: Decision, draft: PromptDraft) -> str:
    """Return why this draft was kept out, and what to do about it."""
    if decision.verdict is Verdict.SPLIT:
        return _(
            "The prompts of owner “%(owner)s” are in the split %(own)s, so this one cannot be in %(split)s. "
            "Omit the split or change the owner."
        ) % {"owner": draft.owner, "own": decision.split, "split": draft.split}
    if decision.verdict is Verdict.TOO_LONG:
        return _("The prompt has more than %(most)d tokens; shorten it.") % {"most": MAX_TOKENS}
    if decision.verdict is Verdict.OVER_CAP:
        return _("Owner “%(owner)s” already has %(cap)d prompts; withdraw one first.") % {
            "owner": draft.owner,
            "cap": OWNER_CAP,
        }
    assert decision.like is not None, decision  # the verdicts that are left are about another prompt
    name = {"prompt": decision.like.name}
    if decision.verdict is Verdict.SAME_BEGINNING:
        return (
            _("It begins with the same 200 characters as %(prompt)s; change the prompt, or keep near-duplicates.")
            % name
        )
    assert decision.verdict is Verdict.SIMILAR, decision
    return _("It is a near-duplicate of %(prompt)s; change the prompt, or keep near-duplicates.") % name


def refused_field(decision: Decision) -> str:
    """Return the field that a refusal is about."""
    return {Verdict.SPLIT: "split", Verdict.OVER_CAP: "owner"}.get(decision.verdict, "prompt")
