"""A ranking as a file of another tool, or of ours, gives it, before it is stored."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.errors import BadInput
from app.kit.given import Given
from app.kit.i18n import gettext as _
from app.kit.text import normal_form, require_text
from app.prompts.messages import text_sha256
from app.prompts.schemas import PromptDraft
from training.contract.records import Message, Pool


@dataclass(frozen=True)
class Ranked:
    """One completion of a row; `tier` 1 is best."""

    text: str
    policy: str
    tier: int | None
    rating: int | None = None
    flags: Mapping[str, bool] | None = None
    shown_position: int | None = None


@dataclass(frozen=True)
class Ranking:
    """What somebody said: a prompt, its completions in order of their position, and who ranked."""

    line: int
    prompt: PromptDraft
    completions: tuple[Ranked, ...]
    labeler: str = ""
    pool: Pool = Pool.TRAIN
    probability: float | None = None  # that each pair's order is right, where a judge gave one
    fell_back: bool = False  # the dialogues part before their last turn

    @property
    def import_key(self) -> str:
        """The hash by which two rows are the same ranking."""
        said = [[normal_form(one.text), one.tier, one.rating, dict(one.flags or {})] for one in self.completions]
        whole = [text_sha256(self.prompt.messages), self.labeler, self.pool, said, self.probability]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Order:
    """A ranking whose prompt is not yet looked at: the messages, the texts and their tiers, and who ranked."""

    messages: Sequence[Message]
    texts: Sequence[str]
    tiers: Sequence[int | None]
    labeler: str = ""
    left_out: str = ""  # why it is no ranking, if it is none


def labeler_of(values: Given) -> tuple[str, Pool]:
    """Who ranked, "" for nobody known, and in which pool."""
    labeler, pool = values.get("labeler"), values.get("pool") or Pool.TRAIN
    if isinstance(labeler, int) and not isinstance(labeler, bool):
        labeler = str(labeler)
    name = require_text("" if labeler is None else labeler, "labeler", may_be_empty=True, at_most=120).strip()
    if pool not in list(Pool):
        raise BadInput(_("pool must be one of: %(known)s.") % {"known": ", ".join(Pool)}, field="pool")
    return name, Pool(pool)


def probability_of(values: Given) -> float | None:
    """That the order of a pair is right, where a judge said so."""
    given = values.get("probability")
    if given is None:
        return None
    try:
        number = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else None
    except ValueError:
        number = None
    if number is None or not 0.5 <= number <= 1:
        raise BadInput(
            _("probability is %(given)s; it is the probability that the chosen one is better, so it must be 0.5 to 1. "
              "Swap the sides, or remove it.") % {"given": str(given)[:40]},
            field="probability",
        )  # fmt: skip
    return number


def place_by_text(ranked: Ranked) -> bytes:
    """Order two completions in a way that does not tell which was chosen."""
    return hashlib.sha256(normal_form(ranked.text).encode()).digest()
