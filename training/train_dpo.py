"""DPO, the offline baseline: a policy learns from rankings alone, no reward model and no sampling [Rafailov 2023].

The loss is the reward model's (Eq. 1, all pairs, one batch element per prompt) on the score that a policy implies:
beta * (log pi(y|x) - log pi_ref(y|x)). With two completions per prompt it is Eq. 7 of the DPO paper.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from training.contract.configs import DPOConfig, RewardModelConfig
from training.contract.events import Finished, Warned
from training.reward.model import Pair, k_wise_loss, pair_accuracy, pairs_right
from training.reward.rankings import RankedPrompt, check_pairs, joined, read_rankings, warn_of_large_groups
from training.run import parallel
from training.run.command import main
from training.run.optimization import optimize, precision
from training.run.run_folder import RunFolder
from training.run.trainable import Trainable, trainable, weights_dtype
from training.text.logprobs import completion_logprobs
from training.text.packing import MicroBatch, micro_batches, shuffled
from training.text.padding import pad
from training.text.policy import check_fits, load_policy, save_policy

RESUMABLE = True


def run(config: DPOConfig, run_folder: RunFolder) -> None:
    """Train a policy against the frozen network it starts as, measure it on unseen prompts, save checkpoints/policy."""
    torch.manual_seed(config.seed)
    network = trainable(load_policy(config.init_from, weights_dtype(config), config), config, run_folder)
    counts: Counter[str] = Counter()
    lengths = {key: getattr(config, key) for key in ("max_prompt_tokens", "max_completion_tokens")}
    rankings = read_rankings(RewardModelConfig(data=config.data, **lengths), network.tokenizer, counts, run_folder)
    trained, unseen = ([p for p in prompts if p.pairs] for prompts in (rankings.train, rankings.validation))
    check_pairs(trained, config, counts)
    check_fits(network.model, max(len(p.prompt) + max(map(len, p.completions)) for p in trained + unseen))
    warn_of_large_groups([p.padded_tokens for p in trained], config.micro_batch_tokens, run_folder)
    # Untrained, the network is still its own reference.
    reference, unseen_reference = (logprobs_by_prompt(network, prompts, config) for prompts in (trained, unseen))
    steps = shuffled(range(len(trained)), config)

    def batches(step: int) -> list[MicroBatch]:
        return losses(network, [trained[i] for i in steps[step]], [reference[i] for i in steps[step]], config)

    optimize(run_folder, config, network.model, len(steps), batches, "dpo", counts)

    metrics: dict[str, float] = {}
    if unseen:
        metrics = measure(unseen, logprobs_by_prompt(network, unseen, config), unseen_reference, config)
    else:
        run_folder.report(Warned(message="no ranking of the validation or test split: held-out accuracy is not known"))

    def write(folder: Path) -> None:
        save_policy(network.plain(folder), network.tokenizer, folder)

    run_folder.save_checkpoint("policy", write, "policy", len(steps), metrics, chosen=True)
    run_folder.report(Finished(result={"checkpoint": "checkpoints/policy", **metrics}))


def losses(
    network: Trainable, prompts: Sequence[RankedPrompt], reference: Sequence[Tensor], config: DPOConfig
) -> list[MicroBatch]:
    """Return a step's loss in micro-batches; `reference` holds log pi_ref(y|x) of each prompt's completions."""
    widths = [prompt.padded_tokens for prompt in prompts]
    ordered_pairs = max(1, sum(pair.weight > pair.opposite_weight for prompt in prompts for pair in prompt.pairs))

    def part(places: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        batch = [prompts[place] for place in places]
        start = torch.cat([reference[place] for place in places]).to(network.model.device)
        with precision(config.dtype):
            logprobs = sequence_logprobs(network, batch)
        scores, pairs = config.beta * (logprobs - start), joined(batch)
        right, sides = sum(map(sum, pairs_right(scores.tolist(), pairs))), _sides(scores.detach(), pairs)
        numbers = {name: value * len(batch) / len(prompts) for name, value in sides.items()}
        return k_wise_loss(scores, pairs, len(prompts)), {**numbers, "accuracy": right / ordered_pairs}

    return [
        MicroBatch(sum(widths[place] for place in places), partial(part, places))
        for places in micro_batches(widths, config.micro_batch_tokens)
    ]


def measure(
    prompts: Sequence[RankedPrompt], logprobs: Sequence[Tensor], reference: Sequence[Tensor], config: DPOConfig
) -> dict[str, float]:
    """Return loss and accuracy of the scores that a policy implies."""
    scores, pairs = config.beta * (torch.cat(list(logprobs)) - torch.cat(list(reference))), joined(prompts)
    metrics = {"loss/validation": float(k_wise_loss(scores, pairs, len(prompts)))}
    for name, value in pair_accuracy(scores.tolist(), pairs).items():
        metrics["accuracy/validation" + ("" if name == "accuracy" else f"_{name}")] = value
    return metrics


@torch.no_grad()
def logprobs_by_prompt(network: Trainable, prompts: Sequence[RankedPrompt], config: DPOConfig) -> list[Tensor]:
    """Return log pi(y|x) of each prompt's completions, prompt by prompt, on the CPU; processes share the work."""
    found: dict[int, Tensor] = {}
    widths = [prompt.padded_tokens for prompt in prompts]
    batches = micro_batches(widths, config.micro_batch_tokens)
    for number, _weight in parallel.assign([sum(widths[i] for i in batch) for batch in batches]):
        batch = batches[number]
        with precision(config.dtype):
            logprobs = sequence_logprobs(network, [prompts[i] for i in batch]).cpu()
        found |= zip(batch, logprobs.split([len(prompts[i].completions) for i in batch]), strict=True)
    everybodys = {i: part for each in parallel.gather(found) for i, part in each.items()}
    return [everybodys[i] for i in range(len(prompts))]


def sequence_logprobs(network: Trainable, prompts: Sequence[RankedPrompt]) -> Tensor:
    """Return log pi(y|x) [N] of all completions of the prompts, in order: the sum over their tokens, nats."""
    lengths = [(len(prompt.prompt), len(ids)) for prompt in prompts for ids in prompt.completions]
    rows = [prompt.prompt + ids for prompt in prompts for ids in prompt.completions]
    prompt_lengths, completion_lengths = torch.tensor(lengths, device=network.model.device).T
    ids, mask = pad(rows, network.pad_id, device=network.model.device)
    return completion_logprobs(network.model, ids, mask, prompt_lengths, completion_lengths, network.forbidden).sum(1)


def _sides(scores: Tensor, groups: Sequence[Sequence[Pair]]) -> dict[str, float]:
    """Return the mean implied score of each side of a pair: both may fall while the loss falls [Pal 2024]."""
    return {
        name: float(torch.stack([scores[[pair[side] for pair in group]].mean() for group in groups]).mean())
        for side, name in enumerate(("chosen_score", "rejected_score"))
    }


if __name__ == "__main__":
    main("train_dpo")
