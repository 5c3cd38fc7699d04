"""A ranking as read from a file of another tool, or of Plumbline, before it is stored."""

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
    """A ranking read from a row: a prompt, its completions in order of position, and who ranked."""

    line: int
    prompt: PromptDraft
    completions: tuple[Ranked, ...]
    labeler: str = ""
    pool: Pool = Pool.TRAIN
    probability: float | None = None  # that each pair's order is right, if a judge gave it
    fell_back: bool = False  # the dialogues diverge before their last turn

    @property
    def import_key(self) -> str:
        """A hash that is equal for two rows with the same ranking."""
        said = [[normal_form(one.text), one.tier, one.rating, dict(one.flags or {})] for one in self.completions]
        whole = [text_sha256(self.prompt.messages), self.labeler, self.pool, said, self.probability]
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Order:
    """A ranking whose prompt is not read yet: the messages, the texts and their tiers, and who ranked."""

    messages: Sequence[Message]
    texts: Sequence[str]
    tiers: Sequence[int | None]
    labeler: str = ""
    left_out: str = ""  # why it is not a ranking, if it is not


def labeler_of(values: Given) -> tuple[str, Pool]:
    """Return who ranked ("" if unknown) and in which pool; raise BadInput if either is invalid."""
    labeler, pool = values.get("labeler"), values.get("pool") or Pool.TRAIN
    if isinstance(labeler, int) and not isinstance(labeler, bool):
        labeler = str(labeler)
    name = require_text("" if labeler is None else labeler, "labeler", may_be_empty=True, at_most=120).strip()
    known = next((one for one in Pool if one == pool), None)
    if known is None:
        raise BadInput(_("pool must be one of: %(known)s.") % {"known": ", ".join(Pool)}, field="pool")
    return name, known


def probability_of(values: Given) -> float | None:
    """Return the probability that a pair's order is right, or None; raise BadInput if it is not 0.5 to 1."""
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
    """Return a sort key that does not reveal which completion was chosen."""
    return hashlib.sha256(normal_form(ranked.text).encode()).digest()
