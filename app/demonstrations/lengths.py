"""Length of a completion in tokens, and its limit (InstructGPT, appendix C: 1k tokens)."""

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
    """A text's length and the limit, both in tokens."""

    tokens: int
    limit: int
    estimated: bool

    @property
    def over(self) -> int:
        """Number of tokens over the limit."""
        return max(0, self.tokens - self.limit)

    def __str__(self) -> str:
        said = _("about %(n)d of %(limit)d tokens (estimated)") if self.estimated else _("%(n)d of %(limit)d tokens")
        said %= {"n": self.tokens, "limit": self.limit}
        over = _("%(n)d too many") % {"n": self.over}
        return f"{said}: {over}" if self.over else said


def tokenizer(session: Session) -> str:
    """Return the tokenizer.json that counts tokens: the configured one, else the newest trained policy's, else ""."""
    if settings().tokenizer:
        return settings().tokenizer
    for policy in policies.policies(session, PolicyKind.TRAINED):
        if policy.path and (found := Path(policy.path) / "tokenizer.json").is_file():
            return str(found)
    return ""


def measure(text: str, tokenizer: str) -> Length:
    """Return the length of a completion; without a tokenizer, it is an estimate."""
    return Length(count_tokens([text], tokenizer), settings().max_completion_tokens, not tokenizer)


def check(length: Length) -> None:
    """Raise BadInput if a completion is over the limit; the caller keeps the text as a draft."""
    if not length.over:
        return
    message = _("This has %(n)d tokens, but only %(limit)d are allowed. Shorten it by %(over)d; your text is kept.")
    if length.estimated:
        message = _(
            "This has about %(n)d tokens, but only %(limit)d are allowed. Shorten it by %(over)d; your text is kept."
        )
    raise BadInput(message % {"n": length.tokens, "limit": length.limit, "over": length.over}, field="text")
