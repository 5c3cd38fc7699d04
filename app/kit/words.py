"""The words that pages and messages use for stored values: states, purposes, kinds, pools."""

from app.kit import i18n
from app.kit.i18n import N_

WORDS = {
    # states
    "draft": N_("draft"),
    "open": N_("open"),
    "closed": N_("closed"),
    "queued": N_("queued"),
    "waiting": N_("waiting"),
    "running": N_("running"),
    "writing": N_("being written"),
    "sampling": N_("being sampled"),
    "ready": N_("ready"),
    "finished": N_("finished"),
    "failed": N_("failed"),
    "cancelled": N_("canceled"),
    "masked": N_("masked"),
    "allowed": N_("allowed"),
    # purposes and priorities of rounds
    "training": N_("training"),
    "evaluation": N_("evaluation"),
    "demo": N_("demo"),
    "practice": N_("practice"),
    "screening": N_("screening"),
    "high": N_("high"),
    "normal": N_("normal"),
    "low": N_("low"),
    # kinds of tasks and of policies, pools of labelers
    "comparison": N_("comparison"),
    "demonstration": N_("demonstration"),
    "conversation": N_("conversation"),
    "trained": N_("trained"),
    "imported": N_("imported"),
    "endpoint": N_("endpoint"),
    "people": N_("people"),
    "train": N_("train"),
    "held-out": N_("held-out"),
}


def word(value: str) -> str:
    """Return the word for a stored value in the reader's language."""
    return i18n.gettext(WORDS[value])
