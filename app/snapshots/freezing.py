"""From rows to the records of a snapshot: pseudonyms, splits, and an order that no id or clock decides."""

import hmac
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from app.accounts.tables import Account, AccountKind
from app.comparisons.tables import Comparison
from app.config import settings
from app.conversations.schemas import opening
from app.conversations.tables import Conversation, Role
from app.demonstrations.tables import Demonstration
from app.prompts.messages import text_sha256
from app.prompts.tables import Prompt
from app.snapshots import queries
from app.snapshots.schemas import SnapshotFilter
from training import records
from training.records import COMPARISONS, DEMONSTRATIONS, PROMPTS, Manifest, Pool, Purpose, Split

Row = TypeVar("Row", Demonstration, Comparison, Prompt)
_FLAGS = set(records.Flag)


def prompt_key(prompt: Prompt) -> str:
    """The keyed pseudonym of a prompt; sampled completions come back under it."""
    return _pseudonym("prompt", prompt.text_sha256)


def labeler_key(labeler: Account | None, imported: str = "") -> str:
    """The keyed pseudonym of a labeler, or of the name that an import gave."""
    return _pseudonym("account", labeler.username) if labeler else _pseudonym("imported labeler", imported)


def _pseudonym(kind: str, text: str) -> str:
    return hmac.digest(settings().key, f"{kind}\n{text}".encode(), "sha256").hex()[:16]


def split_of(prompt: Prompt, pool: Pool) -> Split:
    """The prompt's split; a held-out labeler's answer to a train prompt counts as validation, never as train."""
    return Split.VALIDATION if pool is Pool.HELD_OUT and prompt.split is Split.TRAIN else prompt.split


class Freezer:
    """One pass over the data of a snapshot: writes its files and gathers members and counts on the way."""

    def __init__(self, session: Session, purpose: Purpose, filter: SnapshotFilter, alive: Callable[[], None]):
        self.session, self.purpose, self.filter = session, purpose, filter
        self.alive = alive  # called for each prompt, so that the worker can renew its lease
        self.members: list[dict] = []
        self.counts: Counter[str] = Counter()
        self.guideline_ids: set[int] = set()
        self.answered: set[int] = set()  # ids of the prompts whose answers are counted
        self.answers: Counter[tuple[str, bool]] = Counter()

    def write(self, folder: Path) -> Manifest:
        """Write the data files and the manifest into a new folder."""
        streams = {
            DEMONSTRATIONS: lambda: chain(
                self._ordered(
                    queries.demonstrations(self.session, self.filter), lambda row: row.prompt, self._demonstration
                ),
                self._conversations(),
            ),
            COMPARISONS: lambda: self._ordered(
                queries.comparisons(self.session, self.filter), lambda row: row.prompt, self._comparison
            ),
            PROMPTS: lambda: self._ordered(queries.prompts(self.session, self.filter), lambda row: row, self._prompt),
        }
        data = {name: streams[name]() for name in records.FILES[self.purpose]}
        manifest = records.write_snapshot(
            folder, self.purpose, data, filter=self.filter.model_dump(mode="json", exclude_defaults=True)
        )
        manifest = manifest.model_copy(
            update={
                "counts": manifest.counts | dict(sorted(self.counts.items())),
                "guideline_versions": queries.guideline_names(self.session, self.guideline_ids),
                "prompt_answers": self._answers(),
            }
        )
        (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return manifest

    def _ordered(
        self,
        rows: Iterable[Row],
        prompt_of: Callable[[Row], Prompt],
        freeze: Callable[[Row, Prompt], tuple[records.PromptRecord, dict]],
    ) -> Iterator[records.PromptRecord]:
        """Records by prompt text hash (the rows' order), then labeler, then content; a member for each."""
        for _hash, group in groupby(rows, key=lambda row: prompt_of(row).text_sha256):
            self.alive()
            frozen = [freeze(row, self._tallied(prompt_of(row))) for row in group]
            frozen.sort(key=lambda pair: (getattr(pair[0], "labeler", ""), pair[0].model_dump_json()))
            for record, member in frozen:
                self.members.append(member)
                yield record

    def _tallied(self, prompt: Prompt) -> Prompt:
        """Count what is answered about a prompt, once."""
        if prompt.answers and prompt.id not in self.answered:
            self.answered.add(prompt.id)
            self.answers.update(prompt.answers.items())
        return prompt

    def _answers(self) -> dict[str, dict[str, int]]:
        names = sorted({name for name, _answer in self.answers})
        return {name: {"yes": self.answers[name, True], "no": self.answers[name, False]} for name in names}

    def _conversations(self) -> Iterator[records.DemonstrationRecord]:
        """Conversations by the text hash of what they began with, then labeler, then content; a member for each."""
        rows = queries.conversations(self.session, self.filter)
        for _hash, group in groupby(rows, key=lambda row: row.item.prompt.text_sha256):
            self.alive()
            frozen = [self._conversation(row, row.item.prompt) for row in group]
            frozen.sort(key=lambda pair: [pair[0][0].labeler, *(record.model_dump_json() for record in pair[0])])
            for turns, member in frozen:
                self.members.append(member)
                yield from turns

    def _conversation(self, row: Conversation, starter: Prompt) -> tuple[list[records.DemonstrationRecord], dict]:
        """Each message of the assistant is a completion of all messages before it: the labeler wrote or approved it."""
        split = self._note("conversations", row, starter)
        said = opening(starter)
        made = []
        for message in row.messages:
            if message.role is Role.ASSISTANT:
                made.append(
                    records.DemonstrationRecord(
                        prompt_key=_pseudonym("prompt", text_sha256(said)),
                        prompt=tuple(said),
                        split=split,
                        use_case=starter.use_case,
                        completion=message.text,
                        labeler=labeler_key(row.labeler),
                        pool=row.pool,
                    )
                )
            said = [*said, records.Message(role=message.role.value, text=message.text)]
        self.counts["conversation_messages"] += len(made)
        return made, {"conversation_id": row.id, "split": split, "pool": row.pool}

    def _demonstration(self, row: Demonstration, prompt: Prompt) -> tuple[records.DemonstrationRecord, dict]:
        split = self._note("demonstrations", row, prompt)
        record = records.DemonstrationRecord(
            **_prompt_fields(prompt, split),
            completion=row.completion.text,
            labeler=labeler_key(row.labeler),
            pool=row.pool,
        )
        return record, {"demonstration_id": row.id, "split": split, "pool": row.pool}

    def _comparison(self, row: Comparison, prompt: Prompt) -> tuple[records.ComparisonRecord, dict]:
        split = self._note("comparisons", row, prompt)
        record = records.ComparisonRecord(
            **_prompt_fields(prompt, split),
            completions=tuple(
                records.RankedCompletion(
                    text=compared.completion.text,
                    policy=compared.completion.policy.name,
                    tier=compared.tier,
                    rating=compared.rating,
                    flags={flag: answer for flag, answer in sorted(compared.flags.items()) if flag in _FLAGS},
                    shown_position=compared.shown_position,
                )
                for compared in row.completions
            ),
            labeler=labeler_key(row.labeler, f"{row.collection}\n{row.imported_labeler}"),
            pool=row.pool,
            round=row.item.round.number if row.item else None,
            probability=row.probability,
        )
        return record, {"comparison_id": row.id, "split": split, "pool": row.pool}

    def _prompt(self, prompt: Prompt, _same: Prompt) -> tuple[records.PromptRecord, dict]:
        self.counts[f"prompts_{prompt.split}"] += 1
        return records.PromptRecord(**_prompt_fields(prompt, prompt.split)), {
            "prompt_id": prompt.id,
            "split": prompt.split,
            "pool": None,
        }

    def _note(self, what: str, row: Demonstration | Conversation | Comparison, prompt: Prompt) -> Split:
        """Count a row by split, pool and kind of labeler, keep its guideline; returns its split."""
        split = split_of(prompt, row.pool)
        self.counts[f"{what}_{split}"] += 1
        if row.pool is Pool.HELD_OUT:
            self.counts[f"{what}_held_out"] += 1
        if row.labeler is not None and row.labeler.kind is not AccountKind.PERSON:
            self.counts[f"{what}_{row.labeler.kind}"] += 1
        if row.guideline_id is not None:
            self.guideline_ids.add(row.guideline_id)
        return split


def _prompt_fields(prompt: Prompt, split: Split) -> dict:
    return {
        "prompt_key": prompt_key(prompt),
        "prompt": tuple(records.Message(**message) for message in prompt.messages),
        "split": split,
        "use_case": prompt.use_case,
    }
