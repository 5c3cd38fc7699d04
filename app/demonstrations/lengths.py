"""How long a completion is in tokens, and how long it may be (InstructGPT, appendix C: 1k tokens)."""

from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.config import settings
from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.policies import queries as policies
from app.policies.tables import PolicyKind
from app.prompts.messages import count_tokens


class Length(NamedTuple):
    """A text's length beside the limit, both in tokens."""

    tokens: int
    limit: int
    estimated: bool

    @property
    def over(self) -> int:
        """How many tokens are too many."""
        return max(0, self.tokens - self.limit)

    def __str__(self) -> str:
        said = _("about %(n)d of %(limit)d tokens (estimated)") if self.estimated else _("%(n)d of %(limit)d tokens")
        said %= {"n": self.tokens, "limit": self.limit}
        over = _("%(n)d too many") % {"n": self.over}
        return f"{said}: {over}" if self.over else said


def tokenizer(session: Session) -> str:
    """The tokenizer.json that texts are counted by: the one set, else the newest trained policy's; empty if none."""
    if settings().tokenizer:
        return settings().tokenizer
    for policy in policies.policies(session, PolicyKind.TRAINED):
        if policy.path and (found := Path(policy.path) / "tokenizer.json").is_file():
            return str(found)
    return ""


def measure(text: str, tokenizer: str) -> Length:
    """The length of a completion."""
    return Length(count_tokens([text], tokenizer), settings().max_completion_tokens, not tokenizer)


def check(length: Length) -> None:
    """Refuse a completion over the limit; what was written is kept as a draft by whoever asks."""
    if not length.over:
        return
    message = _("This has %(n)d tokens, but only %(limit)d are allowed. Shorten it by %(over)d; your text is kept.")
    if length.estimated:
        message = _(
            "This has about %(n)d tokens, but only %(limit)d are allowed. Shorten it by %(over)d; your text is kept."
        )
    raise BadInput(message % {"n": length.tokens, "limit": length.limit, "over": length.over}, field="text")
