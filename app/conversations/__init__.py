"""Dialogues in which a labeler plays both sides, with messages that a policy suggests."""
