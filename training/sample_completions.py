"""K distinct completions of each prompt by one policy, with their scores where a reward model is given."""

from collections import Counter
from itertools import count
from typing import Any

import torch

from training.command import main
from training.events import Finished, Progress, Sample, Started, Warned
from training.formatting import decode_completion, encode_prompts
from training.optimization import device
from training.policy import check_fits, forbidden_token_ids, load_policy
from training.recipes import SampleConfig
from training.records import PROMPTS, SAMPLED_COMPLETIONS, PromptRecord, SampledCompletion, read, write
from training.reward_model import load_reward_model, score_sequences
from training.run_folder import RunFolder, write_whole
from training.sampler import sample

TRIES = 3  # samples per wanted completion; then a prompt has fewer


def run(config: SampleConfig, run_folder: RunFolder) -> None:
    """Sample for every prompt of the snapshot and write completions.jsonl whole, prompts in the snapshot's order."""
    if config.temperature == 0 and config.completions_per_prompt > 1:
        raise ValueError(
            f"completions_per_prompt: {config.completions_per_prompt} at temperature 0, which always writes the same; "
            "ask for 1 or raise temperature"
        )
    policy, tokenizer = load_policy(config.init_from)
    policy.to(device())
    counts: Counter[str] = Counter()
    records = list(read(config.data / PROMPTS, PromptRecord))
    encoded = encode_prompts(tokenizer, (record.prompt for record in records), config.max_prompt_tokens, counts)
    kept = [(record, ids) for record, ids in zip(records, encoded, strict=True) if ids is not None]
    if not kept:
        raise ValueError(f"data: {config.data / PROMPTS} has no prompt of at most {config.max_prompt_tokens} tokens")
    check_fits(policy, max(len(ids) for _, ids in kept) + config.max_completion_tokens)
    run_folder.report(Started(verb=config.verb, total_steps=len(kept)))
    run_folder.warn_counts(counts)

    generator = torch.Generator().manual_seed(config.seed)
    texts: list[dict[str, tuple[list[int], bool]]] = []
    at_once = max(1, config.batch_size // config.completions_per_prompt)
    for start in range(0, len(kept), at_once):
        group = kept[start : start + at_once]
        texts += _distinct(policy, tokenizer, [ids for _, ids in group], config, generator)
        shown = next(iter(texts[-1]), "")
        run_folder.report(Sample(step=len(texts), prompt=group[-1][0].prompt[-1].text, completion=shown))
        run_folder.report(Progress(step=len(texts), total_steps=len(kept)))

    scores = _scores(config, tokenizer, [ids for _, ids in kept], texts)
    settings = {
        "temperature": config.temperature,
        "max_completion_tokens": config.max_completion_tokens,
        "seed": config.seed,
    }
    place = count()
    lines = [
        SampledCompletion(
            prompt_key=record.prompt_key,
            text=text,
            tokens=len(ids),
            finished=finished,
            score=scores[next(place)] if scores else None,
            settings=settings,
        )
        for (record, _), found in zip(kept, texts, strict=True)
        for text, (ids, finished) in found.items()
    ]
    write_whole(run_folder.path / SAMPLED_COMPLETIONS, lambda path: write(path, lines))
    fewer = sum(len(found) < config.completions_per_prompt for found in texts)
    if fewer:
        run_folder.report(
            Warned(
                message=f"{fewer} of {len(texts)} prompts have fewer than {config.completions_per_prompt} distinct "
                f"completions after {TRIES * config.completions_per_prompt} tries"
            )
        )
    result = {"file": SAMPLED_COMPLETIONS, "prompts": len(texts), "completions": len(lines), "prompts_short": fewer}
    run_folder.report(Finished(result=result))


def _distinct(
    policy: Any, tokenizer: Any, prompts: list[list[int]], config: SampleConfig, generator: torch.Generator
) -> list[dict[str, tuple[list[int], bool]]]:
    """For each prompt its distinct texts, in the order sampled, each with its ids and whether it ended."""
    wanted = config.completions_per_prompt
    found: list[dict[str, tuple[list[int], bool]]] = [{} for _ in prompts]
    tries = [0] * len(prompts)
    while True:
        asked = [
            row for row, texts in enumerate(found) for _ in range(min(wanted - len(texts), TRIES * wanted - tries[row]))
        ]
        if not asked:
            return found
        sampled = sample(
            policy,
            [prompts[row] for row in asked],
            max_new_tokens=config.max_completion_tokens,
            eos_token_id=tokenizer.eos_token_id,
            forbidden=forbidden_token_ids(policy, tokenizer),
            generator=generator,
            temperature=config.temperature,
            rows_at_once=config.batch_size,
        )
        for row, ids, finished in zip(asked, sampled.texts(), sampled.finished.tolist(), strict=True):
            tries[row] += 1
            text = decode_completion(tokenizer, ids)
            if text.strip():  # an empty completion is nothing to rank
                found[row].setdefault(text, (ids, finished))


def _scores(
    config: SampleConfig, tokenizer: Any, prompts: list[list[int]], texts: list[dict[str, tuple[list[int], bool]]]
) -> list[float]:
    """The reward model's score of each completion, token in; none without a reward model."""
    if config.reward_model is None:
        return []
    reward_model, its_tokenizer, offset = load_reward_model(config.reward_model)
    if its_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"reward_model: {config.reward_model} has another vocabulary than {config.init_from}")
    sequences = [prompt + ids for prompt, found in zip(prompts, texts, strict=True) for ids, _ in found.values()]
    raw = score_sequences(reward_model.to(device()), sequences, tokenizer.pad_token_id)
    return (raw - offset).tolist()


if __name__ == "__main__":
    main("sample_completions")
