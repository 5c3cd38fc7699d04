"""K distinct completions of each prompt by one policy, scored where a reward model is given, each the best of n."""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from training.command import main
from training.configs import SampleConfig
from training.events import Finished, Progress, Sample, Started, Warned
from training.formatting import encode_prompts
from training.optimization import device
from training.policy import check_fits
from training.records import PROMPTS, SAMPLED_COMPLETIONS, PromptRecord, SampledCompletion, write
from training.reward_model import load_reward_model, score_sequences
from training.rl_math import best_of_kl_nats
from training.run_folder import RunFolder, write_whole
from training.snapshots import load
from training.sources import Asked, Drawn, Source, load_source

TRIES = 3  # for each wanted completion; then a prompt has fewer


class Written(NamedTuple):
    """A completion and its score."""

    drawn: Drawn
    score: float | None


Scorer = Callable[[list[list[int]]], list[float]]  # scores of prompt + completion ids


def run(config: SampleConfig, run_folder: RunFolder) -> None:
    """Sample for every prompt of the snapshot and write completions.jsonl whole, prompts in the snapshot's order."""
    for key in ("completions_per_prompt", "best_of"):
        if config.temperature == 0 and getattr(config, key) > 1:
            raise ValueError(
                f"{key}: {getattr(config, key)} at temperature 0, which always writes the same; "
                "ask for 1 or raise temperature"
            )
    source = load_source(config, config.init_from, config.endpoint_model)
    counts: Counter[str] = Counter()
    records = load(config.data, PROMPTS, PromptRecord, run_folder)
    encoded = encode_prompts(source.tokenizer, (record.prompt for record in records), config.max_prompt_tokens, counts)
    kept = [(record, ids) for record, ids in zip(records, encoded, strict=True) if ids is not None]
    if not kept:
        raise ValueError(f"data: {config.data / PROMPTS} has no prompt of at most {config.max_prompt_tokens} tokens")
    if source.model is not None:
        check_fits(source.model, max(len(ids) for _, ids in kept) + config.max_completion_tokens)
    run_folder.report(Started(verb=config.verb, total_steps=len(kept)))
    run_folder.warn_counts(counts)

    scorer = _scorer(config, source.tokenizer)
    texts: list[dict[str, Written]] = []
    at_once = max(1, config.batch_size // (config.completions_per_prompt * config.best_of))
    for start in range(0, len(kept), at_once):
        group = kept[start : start + at_once]
        texts += _distinct(source, scorer, [Asked(record.prompt, ids) for record, ids in group], config)
        shown = next(iter(texts[-1]), "")
        run_folder.report(Sample(step=len(texts), prompt=group[-1][0].prompt[-1].text, completion=shown))
        run_folder.report(Progress(step=len(texts), total_steps=len(kept)))

    settings = {
        "temperature": config.temperature,
        "max_completion_tokens": config.max_completion_tokens,
        "seed": config.seed,
    }
    if config.sampler != "own":
        settings["sampler"] = config.sampler
    result: dict[str, Any] = {}
    if config.best_of > 1:
        settings["best_of"] = config.best_of
        result["kl_bound_nats"] = best_of_kl_nats(config.best_of)
    lines = [
        SampledCompletion(
            prompt_key=record.prompt_key,
            text=text,
            tokens=len(written.drawn.ids),
            finished=written.drawn.finished,
            score=written.score,
            settings=settings,
        )
        for (record, _), found in zip(kept, texts, strict=True)
        for text, written in found.items()
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
    result |= {"file": SAMPLED_COMPLETIONS, "prompts": len(texts), "completions": len(lines), "prompts_short": fewer}
    run_folder.report(Finished(result=result))


def _distinct(
    source: Source, scorer: Scorer | None, prompts: list[Asked], config: SampleConfig
) -> list[dict[str, Written]]:
    """For each prompt its distinct texts, in the order sampled; each try is the best of `best_of` samples."""
    wanted, n = config.completions_per_prompt, config.best_of
    found: list[dict[str, Written]] = [{} for _ in prompts]
    tries = [0] * len(prompts)
    while True:
        asked = [
            row for row, texts in enumerate(found) for _ in range(min(wanted - len(texts), TRIES * wanted - tries[row]))
        ]
        if not asked:
            return found
        drawn = source.draw([prompts[row] for row in asked for _ in range(n)])
        sequences = [prompts[asked[place // n]].ids + each.ids for place, each in enumerate(drawn)]
        scores = scorer(sequences) if scorer else [None] * len(sequences)
        for first, row in zip(range(0, len(drawn), n), asked, strict=True):
            tries[row] += 1
            best = max(range(first, first + n), key=scores.__getitem__)
            text = drawn[best].text
            if text.strip():  # an empty completion is nothing to rank
                found[row].setdefault(text, Written(drawn[best], scores[best]))


def _scorer(config: SampleConfig, tokenizer: Any) -> Scorer | None:
    """What scores completions, token in; None without a reward model."""
    if config.reward_model is None:
        return None
    reward_model, its_tokenizer, offset = load_reward_model(config.reward_model)
    if its_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"reward_model: {config.reward_model} has another vocabulary than {config.init_from}")
    reward_model.to(device())
    return lambda sequences: (score_sequences(reward_model, sequences, tokenizer.pad_token_id) - offset).tolist()


if __name__ == "__main__":
    main("sample_completions")
