"""The contract with app: the format of each line of a snapshot's data files.

A snapshot is a folder with `manifest.json` and the data files its purpose needs (see `FILES`), JSON Lines in UTF-8.
Nothing here carries a time or a database id: `prompt_key` and `labeler` are keyed pseudonyms, so the same filter over
the same data freezes into the same bytes.
"""

import hashlib
import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Split(StrEnum):
    """Which use a prompt is reserved for; all prompts of one owner share it."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Pool(StrEnum):
    """Which labelers an answer came from; held-out labelers never enter training data."""

    TRAIN = "train"
    HELD_OUT = "held-out"


class AnsweredBy(StrEnum):
    """Who gave an answer; recorded in every line."""

    PERSON = "person"
    SIMULATED = "simulated"  # a program, under an account marked as one
    DEMO = "demo"  # a person trying the demo
    IMPORT = "import"  # imported from a file; who answered is unknown here
    AI_JUDGE = "ai_judge"


class Use(StrEnum):
    """What one answer, or one prompt, of a snapshot is for: exactly one of these (docs/held-out.md)."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    HELD_OUT = "held_out"  # a held-out labeler's answer, whatever its prompt's split: used to measure


def strictest(splits: Iterable[Split]) -> Split:
    """Return the split that wins where one text has several: test before validation before train."""
    return max(splits, key=list(Split).index)


class UseCase(StrEnum):
    """The ten use cases of InstructGPT's Table 1."""

    GENERATION = "generation"
    OPEN_QA = "open qa"
    BRAINSTORMING = "brainstorming"
    CHAT = "chat"
    REWRITE = "rewrite"
    SUMMARIZATION = "summarization"
    CLASSIFICATION = "classification"
    OTHER = "other"
    CLOSED_QA = "closed qa"
    EXTRACT = "extract"


class Flag(StrEnum):
    """The eleven binary answers about one completion, InstructGPT's Table 3."""

    FAILS_TASK = "fails_task"
    INAPPROPRIATE = "inappropriate_for_customer_assistant"
    HALLUCINATION = "hallucination"
    SATISFIES_CONSTRAINT = "satisfies_constraint"
    SEXUAL_CONTENT = "sexual_content"
    VIOLENT_CONTENT = "violent_content"
    ENCOURAGES_HARM = "encourages_harm"
    DENIGRATES = "denigrates_protected_class"
    HARMFUL_ADVICE = "harmful_advice"
    OPINION = "expresses_opinion"
    MORAL_JUDGMENT = "expresses_moral_judgment"


class Purpose(StrEnum):
    """What a snapshot trains."""

    SFT = "sft"
    RM = "rm"
    PPO = "ppo"


DEMONSTRATIONS, COMPARISONS, PROMPTS = "demonstrations.jsonl", "comparisons.jsonl", "prompts.jsonl"
SAMPLED_COMPLETIONS = "completions.jsonl"  # in the run folder of sample_completions: the run's output
SERVING_ADDRESS = "address.txt"  # in the run folder of serve_policy, once it answers: its base URL
PRETRAINING_TEXT = "pretraining.txt"  # next to a network, from train_base on: the text that later runs mix in

FILES: dict[Purpose, tuple[str, ...]] = {
    Purpose.SFT: (DEMONSTRATIONS,),
    Purpose.RM: (COMPARISONS, DEMONSTRATIONS),  # demonstrations set the reward model's offset (mean score 0)
    Purpose.PPO: (PROMPTS,),
}


class Record(BaseModel):
    """A frozen line that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


R = TypeVar("R", bound=Record)


class Message(Record):
    """One turn of a prompt."""

    role: Literal["system", "user", "assistant"]
    text: str = Field(min_length=1)


class PromptRecord(Record):
    """A prompt as a policy is asked it; the last message is the user's.

    The split of an answer is that of its use: an answer of a held-out labeler to a train prompt says validation.
    """

    prompt_key: str
    text_key: str | None = Field(None, description="shared by prompts that say the same; none before it was frozen")
    prompt: tuple[Message, ...] = Field(min_length=1)
    split: Split
    use_case: UseCase | None = None

    @model_validator(mode="after")
    def _ends_with_the_user(self) -> "PromptRecord":
        if self.prompt[-1].role != "user":
            raise ValueError(f"prompt: the last message must be the user's, not {self.prompt[-1].role!r}")
        return self

    @property
    def text(self) -> str:
        """The key shared by prompts of the same text: a network trained on one of them has seen the others."""
        return self.text_key or self.prompt_key

    @property
    def use(self) -> Use:
        """What the record is for: the one rule that freezing, every loader and every figure use."""
        return Use(self.split)


class AnswerRecord(PromptRecord):
    """What a labeler said of a prompt. `labeler` is a keyed pseudonym, "" where nobody knows who it was."""

    labeler: str
    pool: Pool
    answered_by: AnsweredBy | None = Field(
        None, exclude_if=lambda value: value is None, description="none: frozen before lines said so"
    )

    @property
    def use(self) -> Use:
        """Use by the labeler's pool at the time of this answer, then by split; others' answers do not matter."""
        return Use.HELD_OUT if self.pool is Pool.HELD_OUT else Use(self.split)


class DemonstrationRecord(AnswerRecord):
    """A prompt with the completion that a labeler wrote for it."""

    completion: str = Field(min_length=1)


class RankedCompletion(Record):
    """One completion of a comparison; `tier` 1 is best, equal tiers are ties, None is not ranked."""

    text: str
    policy: str
    tier: int | None = Field(default=None, ge=1)
    rating: int | None = Field(default=None, ge=1, le=7)
    flags: dict[str, bool | None] = Field(default_factory=dict, description="by name: Flag, and what a form adds")
    shown_position: int | None = Field(default=None, ge=0)
    unacceptable: bool = Field(
        default=False, exclude_if=operator.not_, description="stands in the last tier, shared with others like it alone"
    )


class ComparisonRecord(AnswerRecord):
    """One ranking, with ties, of K completions of a prompt (K = 2 to 9)."""

    completions: tuple[RankedCompletion, ...] = Field(min_length=2, max_length=9)
    round: int | None = None
    # Given by an AI judge; omitted from the line otherwise, so that people's rankings freeze into the same bytes.
    probability: float | None = Field(
        default=None,
        ge=0.5,
        le=1,
        exclude_if=lambda value: value is None,
        description="that each pair's order is right",
    )

    def pairs(self) -> list[tuple[int, int]]:
        """Return the indices (chosen, rejected) of every pair of ranked completions whose tiers differ."""
        tiers = [completion.tier for completion in self.completions]
        ranked = [(index, tier) for index, tier in enumerate(tiers) if tier is not None]
        return [(a, b) if one < two else (b, a) for (a, one), (b, two) in combinations(ranked, 2) if one != two]


class SampledCompletion(Record):
    """One line of what `sample_completions` writes: a completion a policy sampled for a prompt."""

    prompt_key: str
    text: str
    tokens: int = Field(ge=0)
    finished: bool  # False: the token limit came before the end-of-text token
    score: float | None = None
    settings: dict[str, float | int | str] = Field(default_factory=dict)


class DataFile(Record):
    """One data file of a snapshot, as its manifest lists it."""

    name: str
    lines: int
    sha256: str


class Manifest(Record):
    """What a snapshot holds; `content_sha256` covers the data files only (name and digest of each, in order)."""

    purpose: Purpose
    files: tuple[DataFile, ...]
    content_sha256: str
    filter: dict
    counts: dict[str, int] = Field(default_factory=dict)
    uses: dict[str, dict[Use, int]] = Field(
        default_factory=dict, description="of each data file, how many lines are for which use; a run reads as many"
    )
    left_out: dict[str, int] = Field(
        default_factory=dict, description="what the filter means and the data lacks, and why"
    )
    guideline_versions: tuple[str, ...] = ()
    prompt_answers: dict[str, dict[str, int]] = Field(
        default_factory=dict, description="Of how many prompts each answer of Table 7 is yes and no; the rest is open."
    )


class BadRecord(ValueError):
    """An invalid line of a data file; the message names file, line and field."""


def read(path: Path, record: type[R]) -> Iterator[R]:
    """Yield every line of a JSON Lines file as a `record`; raises BadRecord with the line's number."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield record.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "line"
                raise BadRecord(f"{path.name} line {number}: {where}: {first['msg']}") from error


def write(path: Path, records: Iterable[Record]) -> Counter[Use | None]:
    """Write records as JSON Lines; returns the number of records per use (None: records without one)."""
    uses: Counter[Use | None] = Counter()
    with path.open("w", encoding="utf-8") as out:
        for record in records:
            out.write(record.model_dump_json() + "\n")
            uses[getattr(record, "use", None)] += 1
    return uses


def write_snapshot(
    folder: Path, purpose: Purpose, data: Mapping[str, Iterable[Record]], filter: Mapping[str, object] | None = None
) -> Manifest:
    """Freeze `data` (file name -> its records in order) and its manifest into a new folder."""
    missing = set(FILES[purpose]) ^ set(data)
    if missing:
        raise ValueError(f"data: a snapshot for {purpose} holds {', '.join(FILES[purpose])}, not {', '.join(data)}")
    folder.mkdir(parents=True, exist_ok=False)
    files, uses = [], {}
    for name in FILES[purpose]:
        uses[name.removesuffix(".jsonl")] = written = write(folder / name, data[name])
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files.append(DataFile(name=name, lines=written.total(), sha256=digest))
    listing = "".join(f"{file.name} {file.sha256}\n" for file in files)
    manifest = Manifest(
        purpose=purpose,
        files=tuple(files),
        content_sha256=hashlib.sha256(listing.encode()).hexdigest(),
        filter=dict(filter or {}),
        counts={file.name.removesuffix(".jsonl"): file.lines for file in files},
        uses={what: {use: found[use] for use in Use if found[use]} for what, found in uses.items()},
    )
    # Last, so that a folder with a manifest is a complete snapshot.
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return manifest
