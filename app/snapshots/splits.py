"""The split of every text: if two texts say the same, the stricter split wins (docs/held-out.md).

Two texts say the same if they are equal but for case and spacing, if they are prompts found to be near-duplicates, if
both are what one conversation was before some answer, or if one is a dialogue that begins with the other, up to a
message of the user. The relation is transitive. All stored prompts and conversations count, whatever a snapshot
chooses, so that no two snapshots put one text into different splits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.conversations.schemas import opening
from app.conversations.tables import Conversation, ConversationMessage, Role
from app.prompts.messages import folded_sha256, stored
from app.prompts.tables import Finding, FindingState, NearPrompts, Prompt, PromptSource
from app.rounds.tables import Item
from training.contract.records import Message, Pool, Split, strictest

HAS_OPEN_PERSONAL_DATA = exists().where(Finding.prompt_id == Prompt.id, Finding.state == FindingState.OPEN)
_COUNTS = Conversation.surplus.is_(False) & Prompt.withdrawn_at.is_(None)


class Said(Protocol):
    """One message of a conversation."""

    role: Role
    text: str


def answered(starter: Prompt, messages: Iterable[Said]) -> Iterator[tuple[tuple[Message, ...], str]]:
    """Yield (all messages before it, its text) for each assistant message."""
    said = tuple(opening(starter))
    for message in messages:
        if message.role is Role.ASSISTANT:
            yield said, message.text
        said = (*said, Message(role=message.role.value, text=message.text))


def of_answer(split: Split, pool: Pool) -> Split:
    """Return the split of an answer to a prompt of `split`; a held-out labeler's is never train."""
    return Split.VALIDATION if pool is Pool.HELD_OUT and split is Split.TRAIN else split


@dataclass
class Splits:
    """The splits of prompts and conversations; a text is identified by its folded hash."""

    _parent: dict[str, str] = field(default_factory=dict)
    _split: dict[str, Split] = field(default_factory=dict)  # of the first text of each class
    _conversations: dict[int, str] = field(default_factory=dict)  # the first text of each
    with_open_personal_data: set[int] = field(default_factory=set)  # conversations that repeat a prompt with such data

    def of_text(self, folded: str, own: Split) -> Split:
        """Return the split of a text; `own` if the text is unknown because it was stored a moment ago."""
        return self._split[self._first(folded)] if folded in self._parent else own

    def of_conversation(self, id: int, own: Split) -> Split:
        """Return the split of a whole conversation; `own`, that of its starter, if the conversation is unknown."""
        return self.of_text(self._conversations.get(id, ""), own)

    def first_text(self, folded: str) -> str:
        """Return the representative of all texts that say the same as this one: the least hash."""
        return self._first(folded) if folded in self._parent else folded

    def first_of_conversation(self, id: int, starter: str) -> str:
        """Return the representative text of a whole conversation; that of its starter if it is unknown."""
        return self.first_text(self._conversations.get(id, starter))

    def add_prompt(self, folded: str, split: Split) -> None:
        """Record the split of a stored prompt."""
        self._parent.setdefault(folded, folded)
        first = self._first(folded)
        self._split[first] = strictest((split, self._split.get(first, split)))

    def add_conversation(self, id: int, starter: Prompt, texts: list[str]) -> None:
        """Unite what a conversation was before each of its answers, so that no conversation is torn across splits.

        A use-case description is in no record, so it is not a text here; it still gives the conversation its split.
        """
        if starter.source is not PromptSource.USE_CASE:
            texts = [starter.folded_sha256, *texts]
        self._conversations[id] = texts[0]
        for text in texts:
            self.add_prompt(text, starter.split)
            self.unite(texts[0], text)

    def unite_beginnings(self, folded: str, messages: Sequence[Message]) -> None:
        """Unite a known prompt of several turns with each known text that it begins with."""
        for place, message in enumerate(messages[:-1]):
            if message.role == "user" and (beginning := folded_sha256(messages[: place + 1])) in self._parent:
                self.unite(folded, beginning)

    def unite(self, one: str, other: str) -> None:
        """Record that two known texts say the same."""
        first, second = sorted((self._first(one), self._first(other)))
        if first != second:
            self._parent[second] = first
            self._split[first] = strictest((self._split[first], self._split.pop(second)))

    def _first(self, folded: str) -> str:
        parent = self._parent
        while (above := parent[folded]) != folded:
            parent[folded] = parent[above]
            folded = above
        return folded


def effective_splits(session: Session) -> Splits:
    """Return the splits of all stored prompts and conversations, in one pass over them."""
    splits, texts, with_personal_data = Splits(), {}, set()
    columns = (Prompt.id, Prompt.folded_sha256, Prompt.split, HAS_OPEN_PERSONAL_DATA)
    query = select(*columns).where(Prompt.withdrawn_at.is_(None))
    for id, folded, split, is_open in session.execute(query):
        texts[id] = folded
        splits.add_prompt(folded, split)
        if is_open:
            with_personal_data.add(folded)
    for one, other in session.execute(select(NearPrompts.prompt_id, NearPrompts.near_id)):
        if one in texts and other in texts:
            splits.unite(texts[one], texts[other])
    for conversation, starter, messages in _conversations(session):
        said = [folded_sha256(before) for before, _answer in answered(starter, messages)]
        splits.add_conversation(conversation, starter, said)
        if not with_personal_data.isdisjoint(said):
            splits.with_open_personal_data.add(conversation)
    for folded, dialogue in _dialogues(session):
        splits.unite_beginnings(folded, dialogue)
    return splits


def _dialogues(session: Session) -> Iterator[tuple[str, tuple[Message, ...]]]:
    """Yield (folded hash, messages) of every prompt that may begin with another one."""
    kind = "jsonb" if session.get_bind().dialect.name == "postgresql" else "json"
    several = getattr(func, f"{kind}_array_length")(Prompt.messages) > 2
    query = select(Prompt.folded_sha256, Prompt.messages).where(Prompt.withdrawn_at.is_(None), several)
    for folded, messages in session.execute(query.execution_options(yield_per=5000)):
        yield folded, stored(messages)


def _conversations(session: Session) -> Iterator[tuple[int, Prompt, Iterator[Said]]]:
    """Yield (id, starter, messages in order) of every conversation that is not surplus or about a withdrawn prompt."""
    query = select(Conversation.id, Prompt).join(Conversation.item).join(Item.prompt).where(_COUNTS)
    starters = {id: starter for id, starter in session.execute(query)}
    messages = (
        select(ConversationMessage.conversation_id, ConversationMessage.role, ConversationMessage.text)
        .join(Conversation, Conversation.id == ConversationMessage.conversation_id)
        .join(Conversation.item)
        .join(Item.prompt)
        .where(_COUNTS)
        .order_by(ConversationMessage.conversation_id, ConversationMessage.position)
        .execution_options(yield_per=5000)
    )
    for id, said in groupby(session.execute(messages), key=lambda row: row.conversation_id):
        yield id, starters[id], said
