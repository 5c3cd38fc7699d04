"""A labeler's actions in a conversation, without a page."""

from app.assignments import drafts
from app.assignments import queries as assignment_queries
from app.assignments import rules as assignments
from app.conversations import suggesting
from app.conversations.schemas import ConversationContent
from app.conversations.tables import Conversation
from app.database import transaction
from app.desk.submit import submit as submit_answer


def begin(labeler) -> str:
    """Claim the next assignment and return its id."""
    with transaction() as session:
        return assignments.claim(session, labeler).public_id


def draft(labeler, id: str, **content) -> None:
    with transaction() as session:
        found = assignment_queries.assignment(session, id, labeler)
        version = assignment_queries.draft(session, found, labeler).version
        kept = ConversationContent.model_validate(content).model_dump(mode="json")
        drafts.save(session, found, labeler, kept, version=version)


def submit(labeler, id: str, messages: list, **fields) -> Conversation:
    with transaction() as session:
        found = assignment_queries.assignment(session, id, labeler)
        content = ConversationContent.model_validate({"messages": messages, **fields})
        return submit_answer(session, found, labeler, content, active_seconds=9)


def says(role: str, text: str, suggestion: str | None = None) -> dict:
    return {"role": role, "text": text, "suggestion": suggestion}


def talked(labeler, server, id: str | None = None) -> Conversation:
    """Hold a conversation in which the second answer is a suggestion, word for word."""
    id = id or begin(labeler)
    said = [says("assistant", "The Rhine."), says("user", "How long is it?")]
    draft(labeler, id, messages=said)
    server.answer = lambda _request: ["It is 1,230 km long."]
    taken = suggesting.suggest(labeler, id)
    return submit(labeler, id, [*said, says("assistant", taken.text, taken.public_id)])
