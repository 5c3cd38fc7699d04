"""DPO, the offline baseline: a policy learns from rankings alone, no reward model and no sampling [Rafailov 2023].

The loss is the reward model's (Eq. 1, all pairs, one batch element per prompt) on the score that a policy implies:
beta * (log pi(y|x) - log pi_ref(y|x)). With two completions per prompt it is Eq. 7 of the DPO paper.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.contract.configs import DPOConfig, RewardModelConfig
from training.contract.events import Finished, Warned
from training.networks import trial
from training.reward.model import Pair, k_wise_loss, pair_accuracy, pairs_right
from training.reward.rankings import Ranked, check_pairs, joined, read_rankings, warn_of_large_groups
from training.run import parallel
from training.run.command import main
from training.run.optimization import merged, optimize, precision, prepared, weights_dtype
from training.run.run_folder import RunFolder
from training.text.packing import MicroBatch, micro_batches, shuffled
from training.text.policy import check_fits, completion_logprobs, forbidden_token_ids, load_policy, pad, save_policy

RESUMABLE = True


def run(config: DPOConfig, run_folder: RunFolder) -> None:
    """Train a policy against the frozen network it starts as, measure it on unseen prompts, save checkpoints/policy."""
    torch.manual_seed(config.seed)
    model, tokenizer = load_policy(config.init_from, weights_dtype(config), config)
    trial.report(run_folder, "init_from", config.init_from, trial.findings(model, tokenizer))
    model, adapted = prepared(model, config)
    counts: Counter[str] = Counter()
    lengths = {key: getattr(config, key) for key in ("max_prompt_tokens", "max_completion_tokens")}
    rankings = read_rankings(RewardModelConfig(data=config.data, **lengths), tokenizer, counts, run_folder)
    trained = [prompt for prompt in rankings.train if prompt.pairs]
    validation = [prompt for prompt in rankings.validation if prompt.pairs]
    check_pairs(trained, config, counts)
    check_fits(model, max(len(p.prompt) + max(map(len, p.completions)) for p in trained + validation))
    forbidden = forbidden_token_ids(model, tokenizer)

    def logprobs(prompts: Sequence[Ranked]) -> Tensor:
        with precision(config.dtype):
            return sequence_logprobs(model, prompts, forbidden, tokenizer.pad_token_id)

    @torch.no_grad()
    def apart(prompts: Sequence[Ranked]) -> list[Tensor]:
        """Return the log-probability of each completion, prompt by prompt."""
        found: dict[int, Tensor] = {}
        widths = [prompt.padded_tokens for prompt in prompts]
        cut = micro_batches(widths, config.micro_batch_tokens)
        for number, _weight in parallel.deal([sum(widths[i] for i in batch) for batch in cut]):
            batch = cut[number]
            sizes = [len(prompts[i].completions) for i in batch]
            found |= zip(batch, logprobs([prompts[i] for i in batch]).cpu().split(sizes), strict=True)
        everybodys = {i: part for each in parallel.gather(found) for i, part in each.items()}
        return [everybodys[i] for i in range(len(prompts))]

    warn_of_large_groups([p.padded_tokens for p in trained], config.micro_batch_tokens, run_folder)
    reference, unseen_reference = apart(trained), apart(validation)  # untrained, the network is still its own reference
    steps = shuffled(range(len(trained)), config)

    def part(batch: Sequence[int], of_step: int, pairs_in_step: int) -> tuple[Tensor, dict[str, float]]:
        prompts = [trained[i] for i in batch]
        start = torch.cat([reference[i] for i in batch]).to(model.device)
        scores = config.beta * (logprobs(prompts) - start)
        pairs = joined(prompts)
        right, sides = sum(map(sum, pairs_right(scores.tolist(), pairs))), _sides(scores.detach(), pairs)
        numbers = {name: value * len(batch) / of_step for name, value in sides.items()}
        numbers["accuracy"] = right / max(1, pairs_in_step)
        return k_wise_loss(scores, pairs, of_step), numbers

    def batches(step: int) -> list[MicroBatch]:
        indices = steps[step]
        widths = [trained[i].padded_tokens for i in indices]
        pairs = sum(pair.weight > pair.opposite_weight for i in indices for pair in trained[i].pairs)
        return [
            MicroBatch(sum(widths[i] for i in batch), partial(part, [indices[i] for i in batch], len(indices), pairs))
            for batch in micro_batches(widths, config.micro_batch_tokens)
        ]

    optimize(run_folder, config, model, len(steps), batches, "dpo", counts)
    metrics: dict[str, float] = {}
    if validation:
        with torch.no_grad():
            scores = config.beta * (torch.cat(apart(validation)) - torch.cat(unseen_reference))
        pairs = joined(validation)
        metrics["loss/validation"] = float(k_wise_loss(scores, pairs, len(validation)))
        for name, value in pair_accuracy(scores.tolist(), pairs).items():
            metrics["accuracy/validation" + ("" if name == "accuracy" else f"_{name}")] = value
    else:
        run_folder.report(Warned(message="no ranking of the validation or test split: held-out accuracy is not known"))
    run_folder.save_checkpoint(
        "policy",
        lambda folder: save_policy(merged(model, adapted, folder), tokenizer, folder),
        "policy",
        len(steps),
        metrics,
        chosen=True,
    )
    run_folder.report(Finished(result={"checkpoint": "checkpoints/policy", **metrics}))


def sequence_logprobs(model: Any, prompts: Sequence[Ranked], forbidden: Tensor, pad_id: int) -> Tensor:
    """Return log pi(y|x) [N] of all completions of the prompts, in order: the sum over their tokens, nats."""
    lengths = [(len(prompt.prompt), len(ids)) for prompt in prompts for ids in prompt.completions]
    rows = [prompt.prompt + ids for prompt in prompts for ids in prompt.completions]
    prompt_lengths, completion_lengths = torch.tensor(lengths, device=model.device).T
    ids, mask = pad(rows, pad_id, device=model.device)
    return completion_logprobs(model, ids, mask, prompt_lengths, completion_lengths, forbidden).sum(1)


def _sides(scores: Tensor, groups: Sequence[Sequence[Pair]]) -> dict[str, float]:
    """Return the mean implied score of each side of a pair: both may fall while the loss falls [Pal 2024]."""
    return {
        name: float(torch.stack([scores[[pair[side] for pair in group]].mean() for group in groups]).mean())
        for side, name in enumerate(("chosen_score", "rejected_score"))
    }


if __name__ == "__main__":
    main("train_dpo")
