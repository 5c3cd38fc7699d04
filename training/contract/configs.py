"""One frozen config class per verb; the named recipes are in recipes.py.

A verb's CONFIG is a recipe's name or a JSON file like a run folder's config.json. The file's keys override those of the
"recipe" it names, if any.
"""

from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
_FREE = {"changes_numbers": False}

# A key that affects memory, saving or reporting but no number of the run: a resumed run may change its value.
free = partial(Field, json_schema_extra=_FREE)

# A path of those in `required`: None in a recipe, but never in a config by make_config.
if TYPE_CHECKING:
    Input = Path
else:
    Input = Path | None
needed = partial(Field, default=None)


class Config(BaseModel):
    """Everything that decides a run's numbers; `required` names the inputs that no recipe can know."""

    model_config = _STRICT
    verb: ClassVar[str]
    required: ClassVar[tuple[str, ...]] = ()
    many_processes: ClassVar[bool] = False  # whether several processes can share a run
    keeps_inputs: ClassVar[bool] = True  # whether a resumed run must find the inputs that it read at its start

    recipe: str | None = free(default=None, description="the named recipe whose values these keys stand over")
    seed: int = Field(default=0, description="every random choice of the run follows from it")


def free_keys(config: type[Config]) -> set[str]:
    """Return the names of the keys that change no number of a run."""
    return {key for key, field in config.model_fields.items() if field.json_schema_extra == _FREE}


class Optimization(BaseModel):
    """How one network is optimised: Adam (b1 0.9), learning rate by cosine from its peak down to a floor."""

    model_config = _STRICT
    learning_rate: Positive = Field(description="the peak, of most weights")
    warmup_steps: int = Field(default=0, ge=0, description="steps of linear warm-up from a tenth of the peak")
    final_share: float = Field(
        default=0.1, ge=0, le=1, description="learning rate of the last step, as share of the peak"
    )
    adam_b2: float = Field(default=0.95, gt=0, lt=1, description="decay of Adam's second moment per step")
    adam_epsilon: float = Field(default=1e-8, gt=0, description="added to Adam's denominator")
    weight_decay: float = Field(default=0.0, ge=0, description="of matrices, decoupled as in AdamW")
    max_gradient_norm: float | None = Field(
        default=1.0, gt=0, description="a larger gradient is scaled down to it; none: never"
    )
    micro_batch_tokens: int = free(
        default=8192, ge=1, description="tokens of one forward pass; changes memory, not numbers"
    )
    save_every_seconds: float = free(default=60, ge=0, description="how often a resumable state is written")


class OptimizedConfig(Config, Optimization):
    """A verb that optimises one network, by run/optimization.py."""


class BaseConfig(OptimizedConfig):
    """train_base: a small Llama on a text, by default the miniature world's own corpus."""

    verb: ClassVar[str] = "train_base"
    many_processes: ClassVar[bool] = True
    text: Path | None = Field(
        default=None, description="UTF-8 text, documents parted by blank lines; none: the miniature corpus"
    )
    corpus_seed: int = Field(default=0, description="of the miniature corpus")
    corpus_words: int = Field(default=1_500_000, ge=1, description="words of the miniature corpus")
    cache: Path | None = free(default=None, description="folder of finished networks by hash of corpus and recipe")
    vocab_size: int = Field(default=1024, ge=300, description="tokens of the tokenizer that is trained")
    hidden_size: int = Field(default=128, ge=1, description="width of the network")
    intermediate_size: int = Field(default=256, ge=1, description="width inside each feed-forward block")
    layers: int = Field(default=3, ge=1, description="of the network")
    heads: int = Field(default=4, ge=1, description="attention heads of a layer")
    max_positions: int = Field(default=2048, ge=8, description="longest sequence that the network reads")
    row_tokens: int = Field(default=128, ge=8, description="tokens of a packed row")
    rows_per_step: int = Field(default=16, ge=1, description="packed rows of one optimizer step")
    epochs: int = Field(default=1, ge=1, description="passes over the data")
    initializer_range: Positive = Field(
        default=0.06, description="of fresh weights; the usual 0.02 is for wide networks"
    )
    learning_rate: Positive = Field(default=5e-3, description="the peak, of the embeddings and the norms")
    muon_learning_rate: Positive = Field(default=0.02, description="of the matrices; learning_rate is the embeddings'")
    warmup_steps: int = Field(default=50, ge=0, description="steps of linear warm-up from a tenth of the peak")
    weight_decay: float = Field(default=0.1, ge=0, description="of matrices, decoupled as in AdamW")


class Encoding(BaseModel):
    """How prompts and completions become tokens: a longer prompt is left out, a longer completion cut, and counted."""

    model_config = _STRICT
    max_prompt_tokens: int = Field(default=1024, ge=1, description="a longer prompt is left out, and counted")
    max_completion_tokens: int = Field(default=1024, ge=1, description="a longer completion is cut, and counted")
    fold_system: bool = Field(
        default=False,
        description="put a system message before the user's where the chat template takes none; else leave it out",
    )
    template_date: date = Field(default=date(2026, 1, 1), description="today, for a chat template that writes a date")


class Memory(BaseModel):
    """How a large network is made to fit; none of it but dtype and adapters changes numbers."""

    model_config = _STRICT
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of forward and backward passes")
    gradient_checkpointing: bool = free(default=False, description="compute activations twice, to hold fewer")
    lora_rank: int = Field(
        default=0, ge=0, description="rank of adapters trained in place of the weights; 0: all weights"
    )
    sharded: bool = free(
        default=False, description="of several processes each holds a part of weights, gradients and moments (FSDP2)"
    )


class WeightMemory(Memory):
    """Memory settings of runs that keep no averaged copy of the weights."""

    bfloat16_weights: bool = Field(
        default=False,
        description="weights, gradients and moments in bfloat16, and what rounding takes: 10 bytes a weight, not 16",
    )

    @model_validator(mode="after")
    def _compact_where_it_can_be(self) -> "WeightMemory":
        if self.bfloat16_weights and (self.dtype != "bfloat16" or self.lora_rank):
            raise ValueError("bfloat16_weights: needs dtype = bfloat16 and lora_rank = 0; adapters are small anyway")
        return self


class SFTConfig(OptimizedConfig, Encoding, WeightMemory):
    """train_sft: demonstrations, optionally with a share of pretraining text."""

    verb: ClassVar[str] = "train_sft"
    many_processes: ClassVar[bool] = True
    required: ClassVar[tuple[str, ...]] = ("data", "init_from")
    data: Input = needed(description="snapshot folder with demonstrations.jsonl")
    init_from: Input = needed(description="network folder to start from")
    epochs: int = Field(default=16, ge=1, description="passes over the data")
    batch_size: int = Field(default=32, ge=1, description="demonstrations of one optimizer step")
    learning_rate: Positive = Field(default=9.65e-6, description="the peak")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="residual dropout")
    train_on_prompt: bool = Field(default=False, description="also learn the prompt's tokens")
    pretraining_text: Path | None = Field(default=None, description="text file, or a base network's pretraining.txt")
    pretraining_share: float = Field(
        default=0.0, ge=0, lt=1, description="pretraining documents' share of a step's documents"
    )
    row_tokens: int = Field(default=2048, ge=8, description="tokens of a packed row")
    reward_model: Path | None = Field(
        default=None, description="scores each epoch on validation prompts, and the best is kept; none: the last is"
    )
    completions_per_prompt: int = Field(default=1, ge=1, description="that it scores of each validation prompt")


class RewardModelConfig(OptimizedConfig, Encoding, WeightMemory):
    """train_reward_model: a fresh reward model on all comparisons of the snapshot."""

    verb: ClassVar[str] = "train_reward_model"
    many_processes: ClassVar[bool] = True
    required: ClassVar[tuple[str, ...]] = ("data", "init_from")
    data: Input = needed(description="snapshot folder with comparisons.jsonl and demonstrations.jsonl")
    init_from: Input = needed(description="SFT network folder to start from")
    epochs: int = Field(default=1, ge=1, description="passes over the data")
    batch_size: int = Field(default=64, ge=1, description="prompts of one optimizer step, with all their rankings")
    learning_rate: Positive = Field(default=9e-6, description="the peak")
    tie_margin: float = Field(
        default=0.0, ge=0, description="score within which two completions tie (Rao-Kupper); 0: ties are left out"
    )
    folds: int = Field(default=0, ge=0, description="groups that the train pool's labelers form; 0: none is held out")
    fold: int = Field(default=0, ge=0, description="which of the folds is held out, counted from 0")

    @model_validator(mode="after")
    def _fold_is_one_of_the_folds(self) -> "RewardModelConfig":
        if self.folds == 1 or self.fold >= max(1, self.folds):
            raise ValueError(f"fold: {self.fold} of {self.folds} folds; set 2 folds or more, and count them from 0")
        return self


class CrossValidateConfig(RewardModelConfig):
    """cross_validate: a reward model per group of labelers and seed, each judged by the group it has not seen."""

    verb: ClassVar[str] = "cross_validate"
    many_processes: ClassVar[bool] = False
    folds: int = Field(default=5, ge=2, description="groups of labelers, about equal in rankings")
    seeds: int = Field(default=3, ge=1, description="reward models per group")


class DPOConfig(OptimizedConfig, Encoding, WeightMemory):
    """train_dpo: a policy from comparisons alone, without reward model or sampling; an offline baseline."""

    verb: ClassVar[str] = "train_dpo"
    many_processes: ClassVar[bool] = True
    required: ClassVar[tuple[str, ...]] = ("data", "init_from")
    data: Input = needed(description="snapshot folder with comparisons.jsonl")
    init_from: Input = needed(description="SFT network folder: the start and the frozen reference")
    epochs: int = Field(default=1, ge=1, description="passes over the data")
    batch_size: int = Field(default=64, ge=1, description="prompts of one optimizer step, with all their rankings")
    learning_rate: Positive = Field(default=1e-6, description="the peak")
    warmup_steps: int = Field(default=20, ge=0, description="steps of linear warm-up from a tenth of the peak")
    beta: Positive = Field(
        default=0.1, description="how much a log-ratio to the reference counts: less lets it go further"
    )


class SampledBy(BaseModel):
    """Who draws completions: our sampler, transformers' generate, or a server that speaks OpenAI's protocol."""

    model_config = _STRICT
    sampler: Literal["own", "transformers", "endpoint"] = Field(
        default="own", description="own, transformers (its generate), or endpoint: a server such as vLLM or SGLang"
    )
    endpoint: str | None = free(
        default=None, description="its address, to /v1; ENDPOINT_KEY in the environment holds its key, if it has one"
    )

    @model_validator(mode="after")
    def _the_endpoint_is_known(self) -> "SampledBy":
        if (self.sampler == "endpoint") != (self.endpoint is not None):
            raise ValueError("endpoint: set an address if sampler = endpoint, and only then")
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint: {self.endpoint} is not an address; write it as http://host:8000/v1")
        return self


class SampleConfig(Config, Encoding, SampledBy):
    """sample_completions: K completions of each prompt by one policy."""

    verb: ClassVar[str] = "sample_completions"
    required: ClassVar[tuple[str, ...]] = ("data", "init_from")
    data: Input = needed(description="snapshot folder with prompts.jsonl")
    init_from: Input = needed(description="policy's network folder; with an endpoint its tokenizer alone is read")
    endpoint_model: str | None = Field(default=None, description="the policy's name at the endpoint")
    reward_model: Path | None = Field(default=None, description="scores each completion where given")
    completions_per_prompt: int = Field(default=1, ge=1, description="distinct texts wanted; fewer after 3 tries each")
    best_of: int = Field(
        default=1, ge=1, description="samples for each of them, of which the best by the reward model is kept"
    )
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    batch_size: int = Field(default=64, ge=1, description="completions sampled at once")

    @model_validator(mode="after")
    def _the_best_is_known(self) -> "SampleConfig":
        if self.best_of > 1 and self.reward_model is None:
            raise ValueError(f"best_of: {self.best_of} samples need a reward_model that says which is best")
        return self

    @model_validator(mode="after")
    def _the_endpoints_model_is_known(self) -> "SampleConfig":
        if (self.endpoint is not None) != (self.endpoint_model is not None):
            raise ValueError(
                "endpoint_model: set the policy's name at the endpoint if there is an endpoint, and only then"
            )
        return self


class PPOConfig(Config, Encoding, Memory):
    """train_ppo: PPO against a reward model, with the pretraining mix where gamma > 0 (PPO-ptx)."""

    verb: ClassVar[str] = "train_ppo"
    many_processes: ClassVar[bool] = True
    required: ClassVar[tuple[str, ...]] = ("data", "init_from", "reward_model")
    data: Input = needed(description="snapshot folder with prompts.jsonl")
    init_from: Input = needed(description="SFT network folder: the start and the KL reference")
    continue_from: Path | None = Field(
        default=None, description="policy folder to go on from in place of init_from, which stays the reference"
    )
    reward_model: Input = needed(description="reward model's folder; may be larger than the policy")
    allow_weak_reward_model: bool = free(
        default=False, description="train although the reward model's held-out accuracy is not clear of 50 %"
    )
    iterations: int = Field(default=500, ge=1, description="batches of episodes, each learnt from and thrown away")
    batch_size: int = Field(default=512, ge=1, description="episodes of one iteration")
    minibatch_size: int = Field(default=64, ge=1, description="episodes of one optimizer step")
    samples_per_prompt: int = Field(default=1, ge=1, description="episodes of one prompt in a batch")
    sampler: Literal["own", "transformers"] = Field(default="own", description="own, or transformers' generate")
    advantage: Literal["gae", "rloo"] = Field(
        default="gae",
        description="gae: by a critic; rloo: REINFORCE, an episode's reward less the mean of its prompt's others",
    )
    epochs: int = Field(default=1, ge=1, description="passes over each batch")
    temperature: Positive = Field(default=1.0, description="of sampling and of every log-probability alike")
    policy_learning_rate: Positive = Field(default=8.05e-6, description="the policy's, after its warm-up")
    value_learning_rate: Positive = Field(default=9e-6, description="the critic's, after its warm-up")
    warmup_iterations: int = Field(default=10, ge=1, description="iterations of warm-up from a tenth of the rate")
    value_warmup_iterations: int = Field(default=0, ge=0, description="first iterations, the critic's alone")
    adam_b2: float = Field(default=0.95, gt=0, lt=1, description="decay of Adam's second moment per step")
    adam_epsilon: float = Field(default=1e-5, gt=0, description="added to Adam's denominator")
    max_gradient_norm: float | None = Field(
        default=1.0, gt=0, description="a larger gradient is scaled down to it; none: never"
    )
    beta: float = Field(default=0.02, ge=0, description="KL coefficient per token")
    kl_target_nats: float | None = Field(default=None, gt=0, description="adapt beta towards it; none: beta is fixed")
    kl_horizon: Positive = Field(default=10_000, description="episodes over which beta adapts")
    stop_at_kl_nats: float | None = Field(default=None, gt=0, description="end once the KL per completion is above it")
    discount: float = Field(default=1.0, gt=0, le=1, description="of later rewards, per token")
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="1: returns alone, 0: the critic alone")
    clip_ratio: float = Field(
        default=0.2, gt=0, lt=1, description="how far a token's probability ratio may go before it learns no more"
    )
    value_clip: Positive = Field(default=0.2, description="how far a value may move from its old one in an iteration")
    missing_eos_score: float | None = Field(
        default=None, description="score of a completion that never ended, in place of the reward model's"
    )
    missing_eos_penalty: float = Field(default=0.0, ge=0, description="else taken off the score of such a completion")
    gamma: float = Field(default=0.0, ge=0, description="coefficient of the pretraining loss (mean cross-entropy)")
    pretraining_text: Path | None = Field(
        default=None, description="text file of the pretraining mix; none: pretraining.txt in init_from"
    )
    pretraining_ratio: Positive = Field(default=8.0, description="pretraining documents per episode, where gamma > 0")
    row_tokens: int = Field(default=2048, ge=8, description="tokens of a packed row of pretraining text")
    ema_decay: float = Field(default=0.992, ge=0, lt=1, description="of the averaged weights, per iteration")
    judge: Literal["miniature"] | None = Field(
        default=None, description="who also judges every batch, to be seen beside the score; nothing learns from it"
    )
    evaluation_episodes: int = Field(
        default=512, ge=2, description="completions of validation prompts by which raw and averaged weights are scored"
    )
    sample_every_iterations: int = free(default=10, ge=1, description="how often three samples are reported")
    save_every_iterations: int = free(default=10, ge=1, description="how often a resumable state is written")
    rows_at_once: int = free(default=512, ge=1, description="completions sampled at once; changes memory, not numbers")
    micro_batch_tokens: int = free(
        default=8192, ge=1, description="tokens of one forward pass; changes memory, not numbers"
    )

    @model_validator(mode="after")
    def _batches_divide(self) -> "PPOConfig":
        for key in ("minibatch_size", "samples_per_prompt"):
            if self.batch_size % getattr(self, key):
                raise ValueError(f"{key}: {self.batch_size} episodes are not a multiple of {getattr(self, key)}")
        if self.advantage == "rloo" and self.samples_per_prompt < 2:
            raise ValueError("samples_per_prompt: advantage = rloo compares a prompt's episodes; set 2 or more")
        if self.advantage == "rloo" and self.value_warmup_iterations:
            raise ValueError("value_warmup_iterations: advantage = rloo has no critic to warm up; set 0")
        return self


class EvaluateConfig(Config, Encoding, SampledBy):
    """evaluate: policies side by side on prompts none of them was trained on."""

    verb: ClassVar[str] = "evaluate"
    required: ClassVar[tuple[str, ...]] = ("policies",)
    policies: dict[str, Path] = Field(
        default_factory=dict, description="name, with an endpoint the one it has there -> network folder"
    )
    reference: str | None = Field(default=None, description="the policy KL is measured from; default the first")
    reward_model: Path | None = Field(default=None, description="scores each completion where given")
    data: Path | None = Field(default=None, description="snapshot folder with prompts.jsonl; none: miniature prompts")
    split: Literal["train", "validation", "test"] = Field(default="test", description="whose prompts are asked")
    text: Path | None = Field(default=None, description="text file on which each policy's loss is measured as well")
    judge: Literal["miniature"] | None = Field(default=None, description="who decides what is solved and who wins")
    miniature_seed: int = Field(default=0, description="of the miniature prompts")
    prompts: int = Field(default=200, ge=1, description="how many prompts at the most")
    completions_per_prompt: int = Field(default=1, ge=1, description="by each policy")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    batch_size: int = Field(default=64, ge=1, description="completions sampled at once")


class ServeConfig(Config, Encoding):
    """serve_policy: hold a policy in memory and answer OpenAI-compatible chat requests on a port."""

    verb: ClassVar[str] = "serve_policy"
    keeps_inputs: ClassVar[bool] = False
    required: ClassVar[tuple[str, ...]] = ("init_from",)
    init_from: Input = needed(description="policy's network folder")
    name: str = free(default="policy", min_length=1, description="the model's name in requests and answers")
    host: str = free(default="127.0.0.1", description="address to listen on; any but loopback needs SERVE_POLICY_KEY")
    port: int = free(default=8001, ge=0, le=65535, description="0: any free one; address.txt of the run folder tells")
    temperature: float = Field(default=1.0, ge=0, description="of requests that bring none; 0 is greedy")
    dtype: Literal["float32", "bfloat16"] = Field(default="float32", description="of forward passes")
