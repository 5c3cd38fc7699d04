"""What a plan does, as stored in Plan.config and sent over REST."""

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
    """Which model of the loop writes completions for the next round."""

    POLICY = "policy"  # the one this plan trains with PPO
    PREVIOUS = "previous"  # what the last plan trained with PPO
    SFT = "sft"
    BASE = "base"


class Training(BaseModel):
    """A recipe of training.contract.recipes, and keys that override it."""

    model_config = ConfigDict(extra="forbid")

    recipe: Text | None = None
    set: JsonObject = Field(default_factory=dict, description="Config keys that override the recipe's.")

    def config(self) -> dict:
        """Return the recipe and its overrides as keys of a job's config."""
        return {**({"recipe": self.recipe} if self.recipe else {}), **self.set}


class NextRound(BaseModel):
    """The round that a plan creates and opens at its end."""

    model_config = ConfigDict(extra="forbid")

    name: Text = Field("", max_length=120)
    prompts: int = Field(100, ge=0, description="Prompts for comparisons; unused ones first.")
    validation_share: float = Field(0.1, ge=0, le=1, description="Share of these prompts from the validation split.")
    completions: int = Field(4, ge=2, le=9, description="Completions per prompt (K).")
    mix: dict[Source, int] = Field(
        default_factory=lambda: {Source.POLICY: 2, Source.PREVIOUS: 1, Source.SFT: 1},
        description="How many of the K each model writes; a missing model is replaced by another.",
    )
    overlap: int = Field(1, ge=1, le=50, description="Labelers per prompt.")
    pools: list[Pool] = Field([Pool.TRAIN, Pool.HELD_OUT], min_length=1)
    demonstrations: int = Field(0, ge=0, description="Additional train prompts for demonstrations.")
    open: bool = Field(True, description="Open the round immediately; otherwise it stays a draft.")
    priority: RoundPriority = Field(RoundPriority.NORMAL, description=PRIORITY)
    reserved_for_people: ReservedShare = Field(0.0, description=RESERVED)

    @model_validator(mode="after")
    def _adds_up(self) -> "NextRound":
        if sum(self.mix.values()) != self.completions or min(self.mix.values(), default=0) < 0:
            raise ValueError(
                f"mix: the numbers add up to {sum(self.mix.values())}, but completions is {self.completions}"
            )
        if not self.prompts and not self.demonstrations:
            raise ValueError("prompts: a round asks for comparisons, demonstrations or both; both are 0")
        return self


class PlanConfig(BaseModel):
    """Which models a plan trains and what the next round asks for; the defaults are for the miniature world."""

    model_config = ConfigDict(extra="forbid")

    base: Text | None = Field(
        None, description="Checkpoint to start from; absent: the newest base model; if none exists, one is trained."
    )
    train_base: Training = Training(recipe="miniature_base")
    sft: Training = Training(recipe="miniature_sft")
    sft_for_ppo: Training = Training(recipe="miniature_sft_for_ppo")
    reward_model: Training = Training(recipe="miniature_reward_model")
    ppo: Training = Training(recipe="miniature_ppo_ptx")
    sample: Training = Training(recipe="miniature_sample")
    continue_from_last: bool = Field(
        False, description="Continue PPO from the last plan's policy; the SFT model stays the KL reference."
    )
    collections: list[Text] | None = Field(
        None, description="Prompt collections for PPO and the next round; absent: those of the round."
    )
    also: list[Also] = Field([], description=ALSO)
    imported: list[Text] = Field(
        [], description="Collections of imported comparisons that the reward model also learns from."
    )
    next_round: NextRound | None = Field(default_factory=NextRound, description="null: the plan ends with training.")

    def round_to_make(self) -> NextRound:
        """Return the next round, for a step that prepares or makes it: a plan without one has no such step."""
        assert self.next_round is not None, self
        return self.next_round


class PlanIn(BaseModel):
    """A request to start a plan."""

    model_config = ConfigDict(extra="forbid")

    round: Text = Field(description="Public id of the round to train on; if open, it is closed first.")
    name: Text = Field("", max_length=120)
    config: PlanConfig = Field(default_factory=PlanConfig)
    confirm: StrictBool = Field(False, description="Close the round even if labelers have unsubmitted drafts.")


class RetryIn(BaseModel):
    """A request to retry a failed step."""

    model_config = ConfigDict(extra="forbid")

    set: JsonObject = Field(
        default_factory=dict, description="Overrides for the failed job's config; empty: the job is resumed as it is."
    )


class StepOut(BaseModel):
    """One step of a plan."""

    name: str
    kind: StepKind
    state: StepState
    job: str | None
    snapshot: str | None


class PlanOut(BaseModel):
    """A plan."""

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
    """One page of plans, newest first."""

    items: list[PlanOut]
    next_cursor: str | None
