"""A round's plan, as stored in Round.plan and sent over REST, and rounds as REST shows them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

from app.errors import BadInput
from app.kit.i18n import gettext as _
from app.kit.text import Text
from app.prompts.tables import PromptSource
from app.rounds.tables import ItemKind, Round, RoundPriority, RoundPurpose, RoundState
from training.contract.records import Pool, Split, UseCase

FILTERS = ("collections", "splits", "use_cases", "sources")  # of the fields below, those with several values


class PromptFilter(BaseModel):
    """The prompts of a round. An empty list means any; the same filter and seed choose the same prompts."""

    model_config = ConfigDict(extra="forbid")

    collections: list[Text] = []
    splits: list[Split] = []
    use_cases: list[UseCase] = []
    sources: list[PromptSource] = []
    prompts: list[Text] = Field([], description="Public ids of the only prompts to use, in this order.")
    fresh: bool = Field(False, description="Only prompts that no other round uses for the same kind of task.")
    count: int | None = Field(None, ge=1, le=1_000_000, description="The maximum number of prompts. Default: all.")
    seed: int = Field(0, ge=0, le=2**53, description="Seed that chooses and orders the prompts.")


class PolicyShare(BaseModel):
    """How many of an item's K completions come from one policy, given by name."""

    model_config = ConfigDict(extra="forbid")

    policy: Text
    count: int | None = Field(
        None, ge=1, le=9, description="The maximum number. Default: fills what the others leave of K."
    )


def _check_shares(shares: list[PolicyShare], completions: int) -> None:
    named = [share.policy for share in shares]
    if twice := {name for name in named if named.count(name) > 1}:
        raise ValueError(f"policies: {', '.join(sorted(twice))} is named twice")
    counted = sum(share.count or 0 for share in shares)
    if counted > completions:
        raise ValueError(f"policies: their counts add up to {counted}, but an item has {completions} completions")


class ConversationPlan(BaseModel):
    """What conversations start from, which policy suggests messages, and the alternatives that are ranked later."""

    model_config = ConfigDict(extra="forbid")

    starters: PromptFilter | None = Field(None, description="Prompts that each open one conversation.")
    topics: list[Annotated[Text, Field(min_length=1, max_length=4000)]] = Field(
        [],
        max_length=1000,
        description="Use-case descriptions, each for one conversation in which the labeler writes both sides.",
    )
    suggests: Text = Field(
        "", description="Name of the policy that suggests messages. Default: the newest available policy."
    )
    alternatives: int | None = Field(
        4, ge=4, le=9, description="K, the number of completions sampled for one model-written message; null for none."
    )
    policies: list[PolicyShare] = Field(
        [], description="Policies that write the alternatives. Default: the policy that suggests messages."
    )

    @model_validator(mode="after")
    def _begins_with_something(self) -> "ConversationPlan":
        if self.starters is None and not self.topics:
            raise ValueError("starters or topics: a conversation starts from a prompt or a use-case description")
        _check_shares(self.policies, self.alternatives or 9)
        return self


class RoundPlan(BaseModel):
    """The prompts for demonstrations, conversations and comparisons, and where the K completions come from."""

    model_config = ConfigDict(extra="forbid")

    demonstrations: PromptFilter | None = None
    conversations: ConversationPlan | None = None
    comparisons: PromptFilter | None = None
    about_prompts: bool = Field(
        True,
        description="Also show labelers who write demonstrations the form about the prompt; answers are optional.",
    )
    policies: list[PolicyShare] = Field(
        [], description="Policies to compare. Default: every policy but people, in turn."
    )
    completions: int = Field(
        4, ge=2, le=9, description="K, the number of completions per item; fewer if texts are the same."
    )
    seed: int = Field(
        0, ge=0, le=2**53, description="Seed that chooses the completions and their order within an item."
    )

    @model_validator(mode="after")
    def _asks_something(self) -> "RoundPlan":
        if self.demonstrations is None and self.conversations is None and self.comparisons is None:
            raise ValueError("demonstrations, conversations or comparisons: a round needs at least one of them")
        _check_shares(self.policies, self.completions)
        return self


def _in_hundredths(share: float) -> float:
    if abs(100 * share - round(100 * share)) > 1e-9:
        raise ValueError("use hundredths, such as 0.25")
    return round(share, 2)


ReservedShare = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), AfterValidator(_in_hundredths)]
RESERVED = "Share of items, in hundredths, that simulated labelers leave to people; spread evenly and rounded down."
PRIORITY = "Tasks with a higher priority are handed out first; with equal priority, the oldest round comes first."


def percent(share: float) -> int:
    """Return a share as it is stored: 0.25 -> 25."""
    return round(100 * share)


def share(typed: str) -> float:
    """Return the share typed as a whole percentage, 0 for an empty field; raise BadInput unless it is 0 to 100."""
    if not (typed or "0").isdecimal() or len(typed) > 3 or int(typed or 0) > 100:
        raise BadInput(_("The share reserved for people must be a whole percentage from 0 to 100."), field="reserved")
    return int(typed or 0) / 100


class RoundIn(BaseModel):
    """A new round."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field(min_length=1, max_length=120)
    purpose: RoundPurpose = RoundPurpose.TRAINING
    plan: RoundPlan
    overlap: int = Field(1, ge=1, le=50, description="Number of labelers per item.")
    pools: list[Pool] = Field([Pool.TRAIN, Pool.HELD_OUT], min_length=1)
    guideline: Text | None = Field(
        None, description='Name of the guideline. Default: "evaluation" if that is the purpose, else "training".'
    )
    priority: RoundPriority = Field(RoundPriority.NORMAL, description=PRIORITY)
    reserved_for_people: ReservedShare = Field(0.0, description=RESERVED)


class RoundChange(BaseModel):
    """Changes to a round, allowed at any time. Omitted fields stay unchanged."""

    model_config = ConfigDict(extra="forbid")

    priority: RoundPriority | None = Field(None, description=PRIORITY)
    reserved_for_people: ReservedShare | None = Field(None, description=RESERVED)


class CloseIn(BaseModel):
    """Confirms that a round closes although labelers have unsubmitted drafts."""

    model_config = ConfigDict(extra="forbid")

    confirm: StrictBool = Field(False, description="Close the round even if there are unsubmitted drafts.")


class RoundOut(BaseModel):
    """A round."""

    id: str
    number: int
    name: str
    purpose: RoundPurpose
    state: RoundState
    plan: dict
    overlap: int
    pools: list[Pool]
    guideline: str
    guideline_version: int
    form_version: int
    priority: RoundPriority
    reserved_for_people: float
    items: dict[ItemKind, int] = Field(description="Number of items of each kind.")
    assignments: dict[Literal["open", "leased", "submitted"], int]
    without_labeler: int = Field(
        description="Items of an open round that have a free slot but no eligible labeler: every labeler has skipped, "
        "answered or written them, or is paused, disabled or in another pool. Add labelers, or close the round."
    )
    left_out: list[dict] = Field(description="Prompts that were left out, with the reason.")
    created_at: datetime
    opened_at: datetime | None
    closed_at: datetime | None

    @classmethod
    def of(
        cls, round: Round, items: dict[ItemKind, int], assignments: dict[str, int], without_labeler: int
    ) -> "RoundOut":
        """Build it from the round's row, with guideline and form loaded."""
        return cls(
            id=round.public_id,
            number=round.number,
            name=round.name,
            purpose=round.purpose,
            state=round.state,
            plan=round.plan,
            overlap=round.overlap,
            pools=round.pools,
            guideline=round.guideline.name,
            guideline_version=round.guideline.version,
            form_version=round.form.version,
            priority=round.priority,
            reserved_for_people=round.reserved_percent / 100,
            items=items,
            assignments=assignments,
            without_labeler=without_labeler,
            left_out=round.left_out,
            created_at=round.created_at,
            opened_at=round.opened_at,
            closed_at=round.closed_at,
        )


class RoundsOut(BaseModel):
    """A page of rounds."""

    items: list[RoundOut]
    next_cursor: str | None = None


class ItemOut(BaseModel):
    """An item of a round."""

    id: str
    position: int
    kind: ItemKind
    prompt: str
    completions: list[str] = Field(
        description="Public ids in the item's own order, which is never the order that labelers see."
    )


class ItemsOut(BaseModel):
    """A page of items."""

    items: list[ItemOut]
    next_cursor: int | None = None
