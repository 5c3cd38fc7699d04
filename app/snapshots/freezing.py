"""Rows turned into the records of a snapshot: pseudonyms, counts, and an order independent of ids and clocks."""

import hmac
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from sqlalchemy.orm import Session

from app.accounts.tables import Account
from app.comparisons.tables import Comparison, ComparisonSource
from app.config import settings
from app.conversations.tables import Conversation
from app.demonstrations.tables import Demonstration
from app.prompts.messages import text_sha256
from app.prompts.tables import Prompt
from app.snapshots import contents, queries
from app.snapshots.left_out import Kind, refuse_if_empty
from app.snapshots.schemas import SnapshotFilter
from app.snapshots.shapes import desirable
from app.snapshots.splits import answered, effective_splits, of_answer
from training.contract import records
from training.contract.records import COMPARISONS, DEMONSTRATIONS, PROMPTS, AnsweredBy, Manifest, Pool, Purpose, Split

_KINDS = {
    DEMONSTRATIONS: (Kind.DEMONSTRATIONS, Kind.CONVERSATIONS),
    COMPARISONS: (Kind.COMPARISONS,),
    PROMPTS: (Kind.PROMPTS,),
}
_MEMBERS = {
    Kind.DEMONSTRATIONS: "demonstration_id",
    Kind.CONVERSATIONS: "conversation_id",
    Kind.COMPARISONS: "comparison_id",
    Kind.PROMPTS: "prompt_id",
}


_KTO = {True: "kto_good", False: "kto_bad", None: "kto_left_out"}


def prompt_key(prompt: Prompt) -> str:
    """Return the keyed pseudonym of a prompt; sampled completions come back under it."""
    return _pseudonym("prompt", prompt.text_sha256)


def labeler_key(labeler: Account | None, imported: str = "", collection: str = "") -> str:
    """Return the keyed pseudonym of a labeler or of an imported labeler name; "" if there is neither."""
    if labeler is not None:
        return _pseudonym("account", labeler.username)
    return _pseudonym("imported labeler", f"{collection}\n{imported}") if imported else ""


def answered_by(row: Demonstration | Conversation | Comparison) -> AnsweredBy:
    """Return who gave an answer: the kind of its labeler's account, or the source of a comparison."""
    if isinstance(row, Comparison) and row.source is not ComparisonSource.PERSON:
        return AnsweredBy(row.source)
    assert row.labeler is not None  # a person's comparison has one, by the table's CHECK
    return AnsweredBy(row.labeler.kind)


def _pseudonym(kind: str, text: str) -> str:
    return hmac.digest(settings().key, f"{kind}\n{text}".encode(), "sha256").hex()[:16]


class Freezer:
    """One pass over the data of a snapshot: writes its files and collects members and counts."""

    def __init__(self, session: Session, purpose: Purpose, filter: SnapshotFilter, alive: Callable[[], None]):
        self.session, self.purpose, self.filter = session, purpose, filter
        self.alive = alive  # called for each prompt, so that the worker can renew its lease
        self.members: list[dict] = []
        self.counts: Counter[str] = Counter()
        self.guideline_ids: set[int] = set()
        self.answered: set[int] = set()  # ids of the prompts whose answers are counted
        self.answers: Counter[tuple[str, bool]] = Counter()

    def write(self, folder: Path) -> Manifest:
        """Write the data files and the manifest into a new folder.

        Raises BadInput if nothing is left to freeze, and Conflict while a prompt is unexamined.
        """
        contents.check_examined(self.session)
        self.splits = effective_splits(self.session)
        held, left_out = contents.count_rows(self.session, self.purpose, self.filter, self.splits)
        refuse_if_empty(self.purpose, held, left_out)
        data = {name: self._records(name) for name in records.FILES[self.purpose]}
        manifest = records.write_snapshot(
            folder, self.purpose, data, filter=self.filter.model_dump(mode="json", exclude_defaults=True)
        )
        manifest = manifest.model_copy(
            update={
                "counts": manifest.counts | dict(sorted(self.counts.items())),
                "left_out": left_out,
                "guideline_versions": queries.guideline_names(self.session, self.guideline_ids),
                "prompt_answers": self._answers(),
            }
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return manifest

    def _records(self, name: str) -> Iterator[records.PromptRecord]:
        """Yield records by prompt text hash (the rows' order), then labeler, then content; add a member per row."""
        for kind in _KINDS[name]:
            rows = contents.rows(self.session, kind, self.filter, self.splits)
            for _hash, group in groupby(rows, key=lambda found: found[1].text_sha256):
                self.alive()
                frozen = []
                for row, prompt, split in group:
                    self._count(kind, row, prompt, split)
                    pool = None if isinstance(row, Prompt) else row.pool
                    member = {_MEMBERS[kind]: row.id, "split": split, "pool": pool}
                    frozen.append((list(self._freeze(row, prompt, split)), member))
                frozen.sort(key=lambda pair: _place(pair[0]))
                for made, member in frozen:
                    self.members.append(member)
                    yield from made

    def _count(self, kind: Kind, row: contents.Row, prompt: Prompt, split: Split) -> None:
        """Count a row by split, pool and who answered, and the answers about its prompt; record its guideline."""
        self.counts[f"{kind}_{split}"] += 1
        own = prompt.split if isinstance(row, Prompt) else of_answer(prompt.split, row.pool)
        if split is not own:
            self.counts[f"{kind}_in_a_stricter_split"] += 1
        if kind is not Kind.CONVERSATIONS and prompt.answers and prompt.id not in self.answered:
            self.answered.add(prompt.id)
            self.answers.update(prompt.answers.items())
        if isinstance(row, Prompt):
            return
        if row.pool is Pool.HELD_OUT:
            self.counts[f"{kind}_held_out"] += 1
        if (by := answered_by(row)) is not AnsweredBy.PERSON:
            self.counts[f"{kind}_{by}"] += 1
        if row.guideline_id is not None:
            self.guideline_ids.add(row.guideline_id)

    def _answers(self) -> dict[str, dict[str, int]]:
        names = sorted({name for name, _answer in self.answers})
        return {name: {"yes": self.answers[name, True], "no": self.answers[name, False]} for name in names}

    def _freeze(self, row: contents.Row, prompt: Prompt, split: Split) -> Iterator[records.PromptRecord]:
        if isinstance(row, Demonstration):
            return self._demonstration(row, prompt, split)
        if isinstance(row, Conversation):
            return self._conversation(row, prompt, split)
        if isinstance(row, Comparison):
            return self._comparison(row, prompt, split)
        return iter([records.PromptRecord(**self._prompt_fields(prompt, split))])

    def _conversation(self, row: Conversation, starter: Prompt, split: Split) -> Iterator[records.DemonstrationRecord]:
        """Yield each assistant message as a completion of all messages before it: the labeler wrote or approved it."""
        said = self.splits.first_of_conversation(row.id, starter.folded_sha256)
        for before, answer in answered(starter, row.messages):
            self.counts["conversation_messages"] += 1
            yield records.DemonstrationRecord(
                prompt_key=_pseudonym("prompt", text_sha256(before)),
                text_key=_pseudonym("text", said),
                prompt=before,
                split=split,
                use_case=starter.use_case,
                completion=answer,
                labeler=labeler_key(row.labeler),
                pool=row.pool,
                answered_by=answered_by(row),
            )

    def _demonstration(self, row: Demonstration, prompt: Prompt, split: Split) -> Iterator[records.DemonstrationRecord]:
        yield records.DemonstrationRecord(
            **self._prompt_fields(prompt, split),
            completion=row.completion.text,
            labeler=labeler_key(row.labeler),
            pool=row.pool,
            answered_by=answered_by(row),
        )

    def _comparison(self, row: Comparison, prompt: Prompt, split: Split) -> Iterator[records.ComparisonRecord]:
        made = records.ComparisonRecord(
            **self._prompt_fields(prompt, split),
            completions=tuple(
                records.RankedCompletion(
                    text=compared.completion.text,
                    policy=compared.completion.policy.name,
                    tier=compared.tier,
                    rating=compared.rating,
                    flags=dict(sorted(compared.flags.items())),
                    shown_position=compared.shown_position,
                    unacceptable=compared.unacceptable,
                )
                for compared in row.completions
            ),
            labeler=labeler_key(row.labeler, row.imported_labeler, row.collection),
            pool=row.pool,
            answered_by=answered_by(row),
            round=row.item.round.number if row.item else None,
            probability=row.probability,
        )
        self.counts.update(_KTO[desirable(completion)] for completion in made.completions)
        yield made

    def _prompt_fields(self, prompt: Prompt, split: Split) -> dict:
        return {
            "prompt_key": prompt_key(prompt),
            "text_key": _pseudonym("text", self.splits.first_text(prompt.folded_sha256)),
            "prompt": tuple(records.Message(**message) for message in prompt.messages),
            "split": split,
            "use_case": prompt.use_case,
        }


def _place(made: list[records.PromptRecord]) -> list[str]:
    """Return the sort key of a row's records among those of its prompt."""
    return [getattr(made[0], "labeler", ""), *(record.model_dump_json() for record in made)] if made else [""]
