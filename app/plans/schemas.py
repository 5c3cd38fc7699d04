"""What a plan does, as it is stored in Plan.config and spoken over REST."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from app.kit.text import JsonObject, Text
from app.plans.tables import PlanState, StepKind, StepState
from app.rounds.schemas import PRIORITY, RESERVED, ReservedShare
from app.rounds.tables import RoundPriority
from app.snapshots.schemas import ALSO, Also
from training.contract.records import Pool


class Source(StrEnum):
    """Which network of the loop writes completions for the next round."""

    POLICY = "policy"  # the one this plan trains with PPO
    PREVIOUS = "previous"  # what the last plan trained with PPO
    SFT = "sft"
    BASE = "base"


class Training(BaseModel):
    """A recipe of training.contract.recipes and the keys that stand over it."""

    model_config = ConfigDict(extra="forbid")

    recipe: Text | None = None
    set: JsonObject = Field(default_factory=dict, description="keys of the verb's config over the recipe's")

    def config(self) -> dict:
        """Keys over the recipe's, as a job's config has them."""
        return {**({"recipe": self.recipe} if self.recipe else {}), **self.set}


class NextRound(BaseModel):
    """The round that a plan makes and opens in the end."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field("", max_length=120)
    prompts: int = Field(100, ge=0, description="Prompts to compare completions of; new ones where there are enough.")
    validation_share: float = Field(0.1, ge=0, le=1, description="Share of them from the validation split.")
    completions: int = Field(4, ge=2, le=9, description="K")
    mix: dict[Source, int] = Field(
        default_factory=lambda: {Source.POLICY: 2, Source.PREVIOUS: 1, Source.SFT: 1},
        description="How many of the K each network writes; for one that is not there another does.",
    )
    overlap: int = Field(1, ge=1, le=50, description="Labelers asked for each prompt.")
    pools: list[Pool] = Field([Pool.TRAIN, Pool.HELD_OUT], min_length=1)
    demonstrations: int = Field(0, ge=0, description="Further train prompts to write demonstrations for.")
    open: bool = Field(True, description="Open it at once; else it waits as a draft.")
    priority: RoundPriority = Field(RoundPriority.NORMAL, description=PRIORITY)
    reserved_for_people: ReservedShare = Field(0.0, description=RESERVED)

    @model_validator(mode="after")
    def _adds_up(self) -> "NextRound":
        if sum(self.mix.values()) != self.completions or min(self.mix.values(), default=0) < 0:
            raise ValueError(
                f"mix: its numbers add up to {sum(self.mix.values())}, completions says {self.completions}"
            )
        if not self.prompts and not self.demonstrations:
            raise ValueError("prompts: a round asks for comparisons, demonstrations or both; both are 0")
        return self


class PlanConfig(BaseModel):
    """Which networks a plan trains and what the round after it asks; the defaults are the miniature world's."""

    model_config = ConfigDict(extra="forbid")

    base: Text | None = Field(
        None, description="Checkpoint to start from; absent: the newest base, else one is trained."
    )
    train_base: Training = Training(recipe="miniature_base")
    sft: Training = Training(recipe="miniature_sft")
    sft_for_ppo: Training = Training(recipe="miniature_sft_for_ppo")
    reward_model: Training = Training(recipe="miniature_reward_model")
    ppo: Training = Training(recipe="miniature_ppo_ptx")
    sample: Training = Training(recipe="miniature_sample")
    continue_from_last: bool = Field(
        False, description="PPO goes on from the last plan's policy; the SFT network stays the KL reference."
    )
    collections: list[Text] | None = Field(
        None, description="Collections of prompts for PPO and the next round; absent: those of the round."
    )
    also: list[Also] = Field([], description=ALSO)
    imported: list[Text] = Field(
        [], description="Collections of imported comparisons that the reward model learns from too."
    )
    next_round: NextRound | None = Field(default_factory=NextRound, description="null: the plan ends with training.")


class PlanIn(BaseModel):
    """What starts a plan."""

    model_config = ConfigDict(extra="forbid")

    round: Text = Field(description="Public id of the round it trains on; it is closed first.")
    name: Text = Field("", max_length=120)
    config: PlanConfig = Field(default_factory=PlanConfig)
    confirm: StrictBool = Field(False, description="Close the round over drafts that are begun and not submitted.")


class RetryIn(BaseModel):
    """How a failed step is tried again."""

    model_config = ConfigDict(extra="forbid")

    set: JsonObject = Field(
        default_factory=dict, description="Keys over the failed job's config; empty: it is resumed as it is."
    )


class StepOut(BaseModel):
    """One step of a plan."""

    name: str
    kind: StepKind
    state: StepState
    job: str | None
    snapshot: str | None


class PlanOut(BaseModel):
    """A plan as REST tells it."""

    id: str
    name: str
    state: PlanState
    round: str
    next_round: str | None
    config: dict
    error: str
    steps: list[StepOut]
    created_at: datetime


class PlanPage(BaseModel):
    """One page of the plans, the newest first."""

    items: list[PlanOut]
    next_cursor: str | None
