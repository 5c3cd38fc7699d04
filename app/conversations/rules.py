"""What a conversation must be, and how it is stored: its messages, their origins, and alternatives to one of them."""

import hashlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import queue
from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.assignments import changes, late, own
from app.completions import rules as completions
from app.conversations import queries
from app.conversations.schemas import ConversationContent, Turn, first_role, opening
from app.conversations.tables import (
    Alternatives,
    AlternativesState,
    Conversation,
    ConversationMessage,
    Origin,
    Role,
    Suggestion,
)
from app.database import utc_now
from app.errors import BadInput, NotFound
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.prompts import rules as prompts
from app.prompts.messages import text_sha256
from app.prompts.tables import SENSITIVE, Prompt, PromptSource
from app.rounds.schemas import ConversationPlan
from app.rounds.tables import Item, ItemKind
from training.contract.records import Message, Pool, Split, UseCase

COLLECTION = "conversations"  # of the prompts made from conversations, up to a message
RESEND_SECONDS = 60


def validate(
    session: Session, item: Item, labeler: Account, content: ConversationContent, pool: Pool
) -> list[ConversationMessage]:
    """Refuse messages that do not take turns, are empty or do not end with the assistant; return them as rows."""
    turns = _checked(content.whole(first_role(item.prompt)), first_role(item.prompt))
    messages = _messages(turns, queries.suggestions(session, item.id, labeler.id))
    own.note(session, labeler, _answers(item.prompt, turns))
    return messages


def store(
    session: Session,
    item: Item,
    content: ConversationContent,
    messages: list[ConversationMessage],
    columns: dict[str, Any],
    before: Conversation | None,
) -> Conversation:
    """Store a conversation with its messages, and ask for alternatives; `before` is the one that was edited."""
    conversation = session.merge(Conversation(**columns))  # into the one that was edited, if one was
    session.flush()
    if before:
        _let_go_of_alternatives(session, conversation)
        session.execute(delete(ConversationMessage).where(ConversationMessage.conversation_id == conversation.id))
    for message in messages:
        message.conversation_id = conversation.id
    session.add_all(messages)
    session.flush()
    session.expire(conversation, ["messages"])
    if not conversation.surplus:
        _ask_for_alternatives(session, conversation)
    return conversation


def remove(session: Session, stored: Conversation) -> None:
    """Delete a conversation with its messages and the alternatives that were asked for."""
    _let_go_of_alternatives(session, stored)
    session.execute(delete(Conversation).where(Conversation.id == stored.id))


def _checked(turns: list[Turn], first: Role) -> list[Turn]:
    """Return the messages as they are stored.

    Raise BadInput unless the speakers alternate, no message is blank, and the assistant has the last one.
    """
    made = []
    for place, turn in enumerate(turns):
        expected = first if place == 0 else Role.USER if turns[place - 1].role is Role.ASSISTANT else Role.ASSISTANT
        if turn.role is not expected:
            raise BadInput(
                _("Message %(n)d is the %(given)s's, but it is the %(expected)s's turn.")
                % {"n": place + 1, "given": turn.role, "expected": expected},
                field=f"messages.{place}.role",
            )
        if not turn.text.strip():
            raise BadInput(
                _("Message %(n)d is empty. Write it, or remove it and the messages after it.") % {"n": place + 1},
                field=f"messages.{place}.text",
            )
        made.append(turn.model_copy(update={"text": require_text(turn.text, f"messages.{place}.text").strip()}))
    if not made or made[-1].role is not Role.ASSISTANT:
        raise BadInput(
            _("A conversation must end with an assistant message. Write the assistant's answer, then submit."),
            field="messages",
        )
    return made


def _answers(starter: Prompt, turns: list[Turn]) -> Iterator[tuple[str, str]]:
    """Yield (hash of all messages before, hash of the text) for each message of the assistant."""
    said = opening(starter)
    for turn in turns:
        if turn.role is Role.ASSISTANT:
            yield text_sha256(said), completions.text_sha256(turn.text)
        said = [*said, Message(role=turn.role.value, text=turn.text)]


def _messages(turns: list[Turn], suggested: list[Suggestion]) -> list[ConversationMessage]:
    by_id = {one.public_id: one for one in suggested}
    made = []
    for place, turn in enumerate(turns):
        offered = [one for one in suggested if one.position == place]
        if turn.suggestion is not None and turn.suggestion not in by_id:
            raise BadInput(
                _("Suggestion %(id)s not found; leave the field out if the message did not start from a suggestion.")
                % {"id": turn.suggestion},
                field=f"messages.{place}.suggestion",
            )
        began = by_id.get(turn.suggestion or "")
        began = began or next((one for one in offered if one.text.strip() == turn.text), None)
        if began is not None:
            origin = Origin.TAKEN if began.text.strip() == turn.text else Origin.EDITED
        else:
            origin = Origin.IGNORED if offered else Origin.WRITTEN
        made.append(
            ConversationMessage(
                position=place,
                role=turn.role,
                text=turn.text,
                origin=origin,
                suggestion_id=began.id if began else None,
            )
        )
    return made


# --- Alternatives ---


def plan_of(item: Item) -> ConversationPlan:
    """Return what the item's round plans for conversations."""
    return ConversationPlan.model_validate(item.round.plan["conversations"])


def _ask_for_alternatives(session: Session, conversation: Conversation) -> None:
    """Choose one model-written message at random, and queue the sampling of alternatives to it.

    Sampling does not start while the submission can still be undone. An edit keeps the alternatives already sampled.
    """
    if session.scalar(select(Alternatives.id).where(Alternatives.conversation_id == conversation.id)) is not None:
        return
    written = [
        message.position
        for message in conversation.messages
        if message.role is Role.ASSISTANT and message.origin in (Origin.TAKEN, Origin.EDITED)
    ]
    if plan_of(conversation.item).alternatives is None or not written:
        return
    # By the conversation's random id: as good as a die, and the same each time.
    digest = hashlib.sha256(f"alternatives {conversation.public_id}".encode()).digest()
    position = written[int.from_bytes(digest[:8], "big") % len(written)]
    session.add(
        Alternatives(
            conversation_id=conversation.id,
            position=position,
            prompt_id=_prefix(session, conversation, conversation.item.prompt, position).id,
            lease_until=utc_now(changes.FINAL_AFTER_SECONDS),  # when it ends, the reconciler sends the job
        )
    )
    session.flush()


def _let_go_of_alternatives(session: Session, conversation: Conversation) -> None:
    """Delete the alternatives if their sampling has not begun."""
    waiting = (Alternatives.conversation_id == conversation.id, Alternatives.state == AlternativesState.QUEUED)
    prompt_id = session.scalar(delete(Alternatives).where(*waiting).returning(Alternatives.prompt_id))
    if prompt_id is not None:
        prompts.forget(session, prompt_id)


def _prefix(session: Session, conversation: Conversation, starter: Prompt, position: int) -> Prompt:
    """Return the conversation up to a message, as a prompt of the bank."""
    said = [{"role": message.role.value, "text": message.text} for message in conversation.messages[:position]]
    # What held-out labelers write never trains; their conversations count as validation, whatever the starter is.
    held_out = conversation.pool is Pool.HELD_OUT and starter.split is Split.TRAIN
    return prompts.add(
        session,
        messages=[*opening(starter), *said],
        source=PromptSource.CONVERSATION,
        use_case=starter.use_case or UseCase.CHAT,
        owner="" if held_out else starter.owner,
        split=Split.VALIDATION if held_out else starter.split,
        collection=COLLECTION,
        answers={SENSITIVE: True} if starter.sensitive else None,
        written_by=conversation.labeler,
    )


def try_again(session: Session, id: str, by: Account) -> None:
    """Resample a conversation's alternatives; raise NotFound unless they failed."""
    alternatives = queries.conversation(session, id).alternatives
    if alternatives is None or alternatives.state is not AlternativesState.FAILED:
        raise NotFound(_("This conversation has no failed alternatives."))
    accounts.record(session, by, "conversation.alternatives", subject=id)
    alternatives.state, alternatives.attempt, alternatives.error = AlternativesState.QUEUED, 0, ""
    alternatives.lease_until = utc_now(RESEND_SECONDS)
    session.flush()
    queue.send(session, "conversations.sample", alternatives.id)


late.register(ItemKind.CONVERSATION, Conversation, _ask_for_alternatives)
