"""Maps each item kind to its submit and withdraw functions."""

from app.comparisons import rules as comparisons
from app.conversations import rules as conversations
from app.demonstrations import rules as demonstrations
from app.rounds.tables import ItemKind

SUBMIT = {
    ItemKind.COMPARISON: comparisons.submit,
    ItemKind.CONVERSATION: conversations.submit,
    ItemKind.DEMONSTRATION: demonstrations.submit,
}
WITHDRAW = {
    ItemKind.COMPARISON: comparisons.withdraw,
    ItemKind.CONVERSATION: conversations.withdraw,
    ItemKind.DEMONSTRATION: demonstrations.withdraw,
}
