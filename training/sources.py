"""Where a policy's completions come from, as the config says: our sampler, transformers' generate, an endpoint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from training import endpoint
from training.configs import EvaluateConfig, SampleConfig
from training.formatting import decode_completion, encode_completion
from training.optimization import device
from training.policy import forbidden_token_ids, load_policy, load_tokenizer
from training.records import Message
from training.sampler import sample


class Asked(NamedTuple):
    """A prompt, and its token ids."""

    messages: Sequence[Message]
    ids: list[int]


class Drawn(NamedTuple):
    """One completion."""

    text: str
    ids: list[int]  # with the end-of-text token where it is finished
    finished: bool
    logprob: float | None  # of the whole completion at the config's temperature, nats; None where nobody told


class Source(NamedTuple):
    """A policy that can be sampled from; its network only where that is loaded here."""

    tokenizer: Any
    model: Any | None
    draw: Callable[[Sequence[Asked]], list[Drawn]]  # one completion for each entry


def load_source(config: SampleConfig | EvaluateConfig, folder: Path, name: str | None) -> Source:
    """The source of the policy at `folder`, which an endpoint knows by `name`."""
    generator = torch.Generator().manual_seed(config.seed)
    if config.sampler == "endpoint":
        tokenizer = load_tokenizer(folder)

        def ask(prompts: Sequence[Asked]) -> list[Drawn]:
            answers = endpoint.ask(
                config.endpoint,
                name,
                [prompt.messages for prompt in prompts],
                max_tokens=config.max_completion_tokens,
                temperature=config.temperature,
                generator=generator,
            )
            return [_drawn(tokenizer, answer, config.temperature) for answer in answers]

        return Source(tokenizer, None, ask)
    model, tokenizer = load_policy(folder)
    model.to(device())

    def draw(prompts: Sequence[Asked]) -> list[Drawn]:
        sampled = sample(
            model,
            [prompt.ids for prompt in prompts],
            max_new_tokens=config.max_completion_tokens,
            eos_token_id=tokenizer.eos_token_id,
            forbidden=forbidden_token_ids(model, tokenizer),
            generator=generator,
            temperature=config.temperature,
            rows_at_once=config.batch_size,
            by=config.sampler,
        )
        written = zip(
            sampled.texts(), sampled.finished.tolist(), sampled.logprobs.double().sum(1).tolist(), strict=True
        )
        return [Drawn(decode_completion(tokenizer, ids), ids, finished, logprob) for ids, finished, logprob in written]

    return Source(tokenizer, model, draw)


def _drawn(tokenizer: Any, answer: endpoint.Answer, temperature: float) -> Drawn:
    """A server's answer; its log-probs count at temperature 1, since servers tell those whatever they sample at."""
    if answer.ids is None:
        ids = encode_completion(tokenizer, answer.text)
        return Drawn(answer.text, ids if answer.finished else ids[:-1], answer.finished, None)
    known = temperature == 1 and answer.logprobs is not None and len(answer.logprobs) == len(answer.ids)
    return Drawn(answer.text, answer.ids, answer.finished, sum(answer.logprobs) if known else None)
