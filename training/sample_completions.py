"""K distinct completions of each prompt by one policy, scored where a reward model is given, each the best of n.

Until completions.jsonl is written, results are kept in partial.jsonl: a line with everything known about a prompt
whenever it got more, of which the last counts. A resumed run continues from there.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from training.contract.configs import SampleConfig
from training.contract.events import Finished, Progress, Sample, Started, Warned
from training.contract.records import PROMPTS, SAMPLED_COMPLETIONS, PromptRecord, Record, SampledCompletion, read, write
from training.networks import trial
from training.ppo.math import best_of_kl_nats
from training.reward.model import load_reward_model, score_sequences
from training.run.command import main
from training.run.endpoint import Refused
from training.run.optimization import device, weights_hash
from training.run.run_folder import RunFolder, cut_half_line, write_whole
from training.run.snapshots import load
from training.run.sources import Drawn, PromptToSample, Source, load_source, seed_of
from training.text.formatting import encode_prompts
from training.text.policy import check_fits

RESUMABLE = True
PARTIAL = "partial.jsonl"
TRIES = 3  # for each wanted completion; after that a prompt has fewer


class Judge(NamedTuple):
    """A reward model, and the function that scores prompt + completion ids with it."""

    model: Any
    scores: Callable[[list[list[int]]], list[float]]


class PartialRecord(Record):
    """A line of partial.jsonl: the completions of the prompt at `place` after `tries` tries."""

    place: int
    prompt_key: str
    tries: int
    completions: tuple[SampledCompletion, ...]


@dataclass
class Wanted:
    """A prompt at its place in the run, and its distinct completions in the order sampled."""

    place: int
    record: PromptRecord
    ids: list[int]
    tries: int = 0
    found: dict[str, SampledCompletion] = field(default_factory=dict)  # by text
    refused: str = ""  # why the endpoint writes no more

    def missing(self, config: SampleConfig) -> int:
        """Return how many more tries the prompt gets at once."""
        k = config.completions_per_prompt
        return 0 if self.refused else min(k - len(self.found), TRIES * k - self.tries)

    def line(self) -> bytes:
        """Return the prompt's line of partial.jsonl."""
        completions = tuple(self.found.values())
        record = PartialRecord(
            place=self.place, prompt_key=self.record.prompt_key, tries=self.tries, completions=completions
        )
        return record.model_dump_json().encode() + b"\n"


def run(config: SampleConfig, run_folder: RunFolder) -> None:
    """Sample for every prompt of the snapshot, then write completions.jsonl whole, prompts in the snapshot's order."""
    for key in ("completions_per_prompt", "best_of"):
        if config.temperature == 0 and getattr(config, key) > 1:
            raise ValueError(
                f"{key}: {getattr(config, key)} at temperature 0, where every completion is the same; "
                "ask for 1, or raise temperature"
            )
    source = load_source(config, config.init_from, config.endpoint_model, lambda: run_folder.stop_requested)
    counts: Counter[str] = Counter()
    records = load(config.data, PROMPTS, PromptRecord, run_folder)
    encoded = encode_prompts(source.tokenizer, (record.prompt for record in records), config.max_prompt_tokens, counts)
    kept = [(record, ids) for record, ids in zip(records, encoded, strict=True) if ids is not None]
    if not kept:
        raise ValueError(f"data: {config.data / PROMPTS} has no prompt of at most {config.max_prompt_tokens} tokens")
    if source.model is not None:
        trial.report(run_folder, "init_from", config.init_from, trial.findings(source.model, source.tokenizer))
        check_fits(source.model, max(len(ids) for _, ids in kept) + config.max_completion_tokens)
    prompts = [Wanted(place, record, ids) for place, (record, ids) in enumerate(kept)]
    judge = _judge(config, source.tokenizer)
    _resume(prompts, {"init_from": source.model, "reward_model": judge and judge.model}, run_folder)
    at_once = max(1, config.batch_size // (config.completions_per_prompt * config.best_of))
    groups = [prompts]  # a server takes as many as it can
    if source.model is not None:
        groups = [prompts[start : start + at_once] for start in range(0, len(prompts), at_once)]
        for group in groups:  # a prompt's draws depend on its whole group: an unfinished group starts over
            if any(prompt.missing(config) for prompt in group):
                for prompt in group:
                    prompt.tries, prompt.found = 0, {}
    done = sum(not prompt.missing(config) for prompt in prompts)
    run_folder.report(Started(verb=config.verb, total_steps=len(prompts), resumed_from_step=done))
    run_folder.warn_counts(counts)

    with open(run_folder.path / PARTIAL, "ab", buffering=0) as partial:
        for came in (came for group in groups for came in _sample(source, judge, group, config, run_folder)):
            partial.write(b"".join(prompt.line() for prompt in came))
            before, done = done, done + sum(not prompt.missing(config) for prompt in came)
            if done // at_once > before // at_once or done == len(prompts):
                shown = next(iter(came[-1].found), "")
                run_folder.report(Sample(step=done, prompt=came[-1].record.prompt[-1].text, completion=shown))
                run_folder.report(Progress(step=done, total_steps=len(prompts)))
    run_folder.report(Finished(result=_write(prompts, config, run_folder)))
    (run_folder.path / PARTIAL).unlink()  # last, so that a kill before it loses nothing


def _resume(prompts: Sequence[Wanted], networks: dict[str, Any], run_folder: RunFolder) -> None:
    """Restore the prompts' earlier results; raises ValueError if they are of other prompts or other networks."""
    hashes = {key: weights_hash(network) for key, network in networks.items() if network is not None}
    state = run_folder.load_state()
    if state is None:
        run_folder.save_state(hashes)
    for key in hashes:
        if state and state[key] != hashes[key]:
            raise ValueError(f"{key}: the network changed since the run began; start a new run")
    cut_half_line(run_folder.path / PARTIAL)
    for line in read(run_folder.path / PARTIAL, PartialRecord) if (run_folder.path / PARTIAL).exists() else ():
        if line.place >= len(prompts) or line.prompt_key != prompts[line.place].record.prompt_key:
            raise ValueError("data: the prompts changed since the run began; start a new run")
        prompts[line.place].tries = line.tries
        prompts[line.place].found = {completion.text: completion for completion in line.completions}


def _sample(
    source: Source, judge: Judge | None, prompts: Sequence[Wanted], config: SampleConfig, run_folder: RunFolder
) -> Iterator[list[Wanted]]:
    """Try until no prompt misses anything, yielding the prompts that got results; raises Stopped.

    Each try is the best of `best_of` samples.
    """
    n, settings = config.best_of, _settings(config)
    while tries := [prompt for prompt in prompts for _ in range(prompt.missing(config))]:
        run_folder.checkpoint_stop(lambda: None)
        asked = [
            PromptToSample(prompt.record.prompt, prompt.ids, seed_of(config.seed, prompt.place, prompt.tries))
            for prompt in tries
            for _ in range(n)
        ]
        samples: dict[int, list[Drawn]] = {}  # by number of the try
        for first, drawn in source.draw(asked):
            if isinstance(drawn, Refused):
                tries[first // n].refused = str(drawn)
                yield [tries[first // n]]
                continue
            for place, each in enumerate(drawn, first):
                samples.setdefault(place // n, []).append(each)
            whole = [number for number in samples if len(samples[number]) == n]
            written = [(number, each) for number in whole for each in samples.pop(number)]
            sequences = [tries[number].ids + each.ids for number, each in written]
            scores = judge.scores(sequences) if judge and sequences else [None] * len(sequences)
            scored = list(zip(written, scores, strict=True))  # without a judge n is 1
            for start in range(0, len(scored), n):
                (number, best), score = max(scored[start : start + n], key=lambda each: each[1] or 0.0)
                prompt = tries[number]
                prompt.tries += 1
                if best.text.strip():  # an empty completion cannot be ranked
                    completion = SampledCompletion(
                        prompt_key=prompt.record.prompt_key,
                        text=best.text,
                        tokens=len(best.ids),
                        finished=best.finished,
                        score=score,
                        settings=settings,
                    )
                    prompt.found.setdefault(best.text, completion)
            if whole:
                yield list({tries[number].place: tries[number] for number in whole}.values())


def _settings(config: SampleConfig) -> dict[str, float | int | str]:
    """Return the part of the config that is stored with each completion."""
    settings: dict[str, float | int | str] = {
        "temperature": config.temperature,
        "max_completion_tokens": config.max_completion_tokens,
        "seed": config.seed,
    }
    if config.sampler != "own":
        settings["sampler"] = config.sampler
    if config.best_of > 1:
        settings["best_of"] = config.best_of
    return settings


def _write(prompts: Sequence[Wanted], config: SampleConfig, run_folder: RunFolder) -> dict[str, Any]:
    """Write completions.jsonl and warn of missing completions; returns the run's result."""
    lines = [line for prompt in prompts for line in prompt.found.values()]
    refused = [prompt.refused for prompt in prompts if prompt.refused]
    if refused and not lines:
        raise ValueError(refused[0])
    write_whole(run_folder.path / SAMPLED_COMPLETIONS, lambda path: write(path, lines))
    short = [prompt for prompt in prompts if len(prompt.found) < config.completions_per_prompt and not prompt.refused]
    warnings = {
        f"prompts have fewer than {config.completions_per_prompt} distinct completions after "
        f"{TRIES * config.completions_per_prompt} tries": len(short),
        f"prompts lack completions that the endpoint refused to write; the first: {next(iter(refused), '')}": len(
            refused
        ),
    }
    for what, count in warnings.items():
        if count:
            run_folder.report(Warned(message=f"{count} of {len(prompts)} {what}"))
    result: dict[str, Any] = {
        "file": SAMPLED_COMPLETIONS,
        "prompts": len(prompts),
        "completions": len(lines),
        "prompts_short": len(short),
        "prompts_refused": len(refused),
    }
    if config.best_of > 1:
        result["kl_bound_nats"] = best_of_kl_nats(config.best_of)
    return result


def _judge(config: SampleConfig, tokenizer: PreTrainedTokenizerBase) -> Judge | None:
    """Load the judge that scores completions; None without a reward model."""
    if config.reward_model is None:
        return None
    reward_model, its_tokenizer, offset = load_reward_model(config.reward_model)
    if its_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"reward_model: {config.reward_model} has another vocabulary than {config.init_from}")
    reward_model.to(device())
    return Judge(
        reward_model,
        lambda sequences: (score_sequences(reward_model, sequences, tokenizer.pad_token_id) - offset).tolist(),
    )


if __name__ == "__main__":
    main("sample_completions")
