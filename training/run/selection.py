"""Which epoch's network supervised fine-tuning recommends: the best by reward model score [InstructGPT 3.5, C.1].

The paper's validation loss was lowest after one epoch of sixteen while scores and human preference kept rising. So the
loss is reported for every epoch and decides nothing: without a reward model the last network is kept.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.contract.configs import SFTConfig
from training.contract.events import Sample, Warned
from training.contract.intervals import mean
from training.reward.model import load_reward_model, score_sequences
from training.run import parallel
from training.run.optimization import device, precision
from training.run.run_folder import BEFORE, RunFolder
from training.text.formatting import decode_completion
from training.text.policy import check_fits, forbidden_token_ids, stop_ids
from training.text.sampler import sample

ROWS = "epochs"  # name of the state with the content of report.json
SHOWN = 3  # completions reported per epoch
BEST = {"score": max, "validation_loss_nats": min}
Row = dict[str, float]


class EpochScorer:
    """Scores policies on the same prompts with the same draws."""

    def __init__(
        self, config: SFTConfig, policy: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]]
    ) -> None:
        """Load the reward model; `prompts` are token ids, each sampled `completions_per_prompt` times."""
        if not prompts:
            raise ValueError(
                f"reward_model: {config.data} has no demonstration of the validation split whose prompt can be "
                "used to score networks; put some prompts into that split, or leave reward_model out to keep the last "
                "network"
            )
        assert config.reward_model is not None  # it is what judges
        self.config, self.tokenizer = config, tokenizer
        self.reward_model, its_tokenizer, self.offset = load_reward_model(config.reward_model)
        if its_tokenizer.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"reward_model: {config.reward_model} has another vocabulary than {config.init_from}")
        self.longest = max(map(len, prompts)) + config.max_completion_tokens
        for network in (policy, self.reward_model):
            check_fits(network, self.longest)
        self.reward_model.to(device()).requires_grad_(False)
        self.asked = [prompt for prompt in prompts for _ in range(config.completions_per_prompt)]

    def __call__(self, policy: Any, step: int, run_folder: RunFolder) -> Row:
        """Return the mean score over prompts, its standard error and 95 % interval, and the share of ended completions.

        Processes share the work. A single prompt gives neither error nor interval.
        """
        config = self.config
        with precision(config.dtype), parallel.gathered(policy):
            sampled = sample(
                policy,
                self.asked,
                max_new_tokens=config.max_completion_tokens,
                eos_token_id=stop_ids(policy, self.tokenizer),
                forbidden=forbidden_token_ids(policy, self.tokenizer),
                generator=torch.Generator().manual_seed(config.seed),
                rows_at_once=max(1, config.micro_batch_tokens // self.longest),
            )
        completions = sampled.texts()
        scores = self._scores([prompt + ids for prompt, ids in zip(self.asked, completions, strict=True)])
        for place in range(0, len(completions), config.completions_per_prompt)[:SHOWN]:
            prompt = self.tokenizer.decode(self.asked[place], skip_special_tokens=True)
            text = decode_completion(self.tokenizer, completions[place])
            run_folder.report(Sample(step=step, prompt=prompt, completion=text, score=float(scores[place])))
        if not bool(scores.isfinite().all()):
            raise ValueError(
                f"reward_model: {config.reward_model}: its scores after step {step} are not finite; set dtype = "
                "float32, or take an earlier checkpoint of it"
            )
        by_prompt = scores.double().view(-1, config.completions_per_prompt).mean(1)
        found = mean([score] for score in by_prompt.tolist())
        row = found.named("score") | {"score_prompts": float(found.clusters)}
        if found.clusters > 1:
            row["score_se"] = float(by_prompt.std()) / math.sqrt(found.clusters)
        return row | {"eos_rate": float(sampled.finished.double().mean())}

    def _scores(self, sequences: Sequence[list[int]]) -> Tensor:
        """Return the scores [N] of prompt + completion ids, less the reward model's offset."""
        pad_id, config = self.tokenizer.pad_token_id, self.config
        mine = list(range(parallel.process_number(), len(sequences), parallel.process_count()))
        with precision(config.dtype):
            raw = score_sequences(self.reward_model, [sequences[i] for i in mine], pad_id, config.micro_batch_tokens)
        scores = torch.zeros(len(sequences))
        for places, part in parallel.gather((mine, raw - self.offset)):
            scores[places] = part
        return scores


@dataclass
class Epochs:
    """Measurements after each epoch, written to the run folder's report.json, and the best epoch by each criterion.

    Only the weights of the best are kept in state/. A resumed run may measure an epoch again. The rows are kept in
    state/ as well, in case a crash tears report.json.
    """

    run_folder: RunFolder
    rows: dict[int, Row] = field(default_factory=dict)  # by step
    best: dict[str, int] = field(default_factory=dict)  # criterion -> step

    def __post_init__(self) -> None:
        try:
            known = self.run_folder.read_json("report.json")
        except ValueError:
            known = self.run_folder.load_state(ROWS)
            if known is None:
                raise
            path = self.run_folder.path / "report.json"
            self.run_folder.report(Warned(message=f"{path}: cannot be read; its epochs are taken from state/{ROWS}.pt"))
        if known is not None:
            self.rows = {row["step"]: row for row in known["epochs"]}
            self.best = known["best_step_by"]

    def check(self) -> None:
        """Raise ValueError if the weights of a best epoch are unreadable; otherwise a run notices only at its end."""
        for step in set(self.best.values()):
            if self.run_folder.load_state(_name(step)) is None:
                raise ValueError(f"{self.run_folder.path}: lacks state/{_name(step)}.pt; start a new run")

    def add(self, row: Row, weights: Callable[[], dict[str, Tensor]] | None) -> None:
        """Record an epoch; keep its weights, if given, when it is the best by score or by loss so far."""
        step = int(row["step"])
        self.rows[step] = row
        for key, better in BEST.items():
            if key in row:
                steps = sorted({self.best.get(key, step), step})
                self.best[key] = better(steps, key=lambda step: self.rows[step][key])
        # Weights, report, then cleanup: if killed in between, the run measures this epoch again with the same result.
        if weights is not None and step in self.best.values():
            self.run_folder.save_state(weights(), _name(step))
        self.rows = dict(sorted(self.rows.items()))
        report = {"epochs": list(self.rows.values()), "best_step_by": self.best}
        self.run_folder.save_state(report, ROWS)
        self.run_folder.write_json("report.json", report)
        if weights is not None:
            self.run_folder.drop_states(keep=[BEFORE, ROWS, *map(_name, self.best.values())])

    def load(self, model: Any, step: int) -> None:
        """Load into `model` the weights that it had after this step, one of the best."""
        model.load_state_dict(self.run_folder.load_state(_name(step)), strict=False)  # frozen weights are not in it


def _name(step: int) -> str:
    return f"epoch-ended-at-{step}"
