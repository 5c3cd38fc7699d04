"""Asking a policy for the next message of a conversation while the labeler waits.

No database connection is held meanwhile, and only AT_ONCE labelers may wait at a time: the other threads serve
requests.
"""

import logging
import time
from collections.abc import Sequence
from threading import BoundedSemaphore

from app.accounts.tables import Account
from app.assignments import queries as assignments
from app.conversations.queries import suggestions
from app.conversations.rules import plan_of
from app.conversations.schemas import MAX_MESSAGES, ConversationContent, first_role, opening
from app.conversations.tables import Role, Suggestion
from app.database import reading, transaction
from app.errors import BadInput, Conflict, PlumblineError, TooMany
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.policies import rules as policies
from app.prompts.tables import Prompt
from app.rounds.tables import ItemKind
from app.serving import rules as serving
from app.serving.endpoint import NoAnswer
from training.contract.records import Message

AT_ONCE = 8  # of the forty threads that serve requests
MAX_TOKENS = 512
MAX_SUGGESTIONS = 20  # for one message
TEMPERATURE = 1.0  # samples the policy's own distribution

# The system message for a policy that writes the person's message; the roles are swapped.
PERSON = "You play a person who talks with an assistant. Write that person's next message and nothing else."
GREETING = "Hello! What can I do for you?"

log = logging.getLogger(__name__)
_waiting = BoundedSemaphore(AT_ONCE)


class NoSuggestion(PlumblineError):
    """No suggestion is available. The message to the labeler gives no cause, for that would name the policy."""

    status = 503
    title = N_("No suggestion available")


def suggest(labeler: Account, assignment_id: str) -> Suggestion:
    """Return a suggestion for the next message of the labeler's draft, stored with its policy."""
    with reading() as session:
        assignment = assignments.assignment(session, assignment_id, labeler)
        draft = assignments.draft(session, assignment, labeler)
        item = assignment.item
        if item.kind is not ItemKind.CONVERSATION:
            raise BadInput(_("Suggestions are available only in conversations."))
        if draft.submitted_at is not None:
            raise Conflict(_("You have already submitted this."))
        content = ConversationContent.model_validate(draft.content)
        try:
            policy = policies.writer(session, plan_of(item).suggests)
        except BadInput as error:
            log.warning("round %s has nobody to suggest: %s", item.round.number, error.message)
            raise _none() from error
        asked_before = len(suggestions(session, item.id, labeler.id, len(content.messages)))
    if len(content.messages) >= MAX_MESSAGES:
        raise BadInput(_("A conversation can have at most %(n)d messages.") % {"n": MAX_MESSAGES})
    if asked_before >= MAX_SUGGESTIONS:
        raise BadInput(
            _("You have had %(n)d suggestions for this message. Use one of them, or write it yourself.")
            % {"n": MAX_SUGGESTIONS}
        )
    role = content.next_role(first_role(item.prompt))
    said = [Message(role=turn.role, text=turn.text) for turn in content.messages if turn.text.strip()]
    began = time.monotonic()
    if not _waiting.acquire(blocking=False):
        raise TooMany(_("Too many people are waiting for a suggestion. Try again in a moment."), retry_after_seconds=3)
    try:
        (written,) = serving.write(
            policy, messages_to_send(role, item.prompt, said), temperature=TEMPERATURE, max_tokens=MAX_TOKENS
        )
    except NoAnswer as error:
        log.warning("no suggestion from %s: %s", policy.name, error.message)
        raise _none() from error
    finally:
        _waiting.release()
    with transaction() as session:
        made = Suggestion(
            item_id=item.id,
            labeler_id=labeler.id,
            policy_id=policy.id,
            position=len(content.messages),
            role=role,
            text=written.text,
            settings={"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS, "finished": written.finished},
            seconds=round(time.monotonic() - began, 3),
        )
        session.add(made)
        session.flush()
    return made


def _none() -> NoSuggestion:
    return NoSuggestion(_("No suggestion is available right now. Write the message yourself, or try again later."))


def load_policy(labeler: Account, assignment_id: str) -> None:
    """Start loading the policy that will suggest messages."""
    with transaction() as session:
        item = assignments.assignment(session, assignment_id, labeler).item
        if item.kind is ItemKind.CONVERSATION:
            try:
                policy = policies.writer(session, plan_of(item).suggests)
            except BadInput:
                return  # no policy can suggest; `suggest` reports that
            if policy.path is not None:
                serving.want(session, policy)


def messages_to_send(role: Role, starter: Prompt, said: Sequence[Message]) -> list[dict[str, str]]:
    """Return the messages to send to a policy for the next one; the roles are swapped if it writes the person's."""
    begun = opening(starter)
    if role is Role.ASSISTANT:
        return [{"role": message.role, "text": message.text} for message in (*begun, *said)]
    wants = "" if begun else f"\n\nWhat this person is after: {starter.messages[-1]['text']}"
    other = {"user": "assistant", "assistant": "user"}
    turned = [
        {"role": other[message.role], "text": message.text} for message in (*begun, *said) if message.role in other
    ]
    return [{"role": "system", "text": PERSON + wants}, {"role": "user", "text": GREETING}, *turned]
