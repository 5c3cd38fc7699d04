"""Sources of a policy's completions, chosen by the config: our sampler, transformers' generate, or an endpoint."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from training.contract.configs import EvaluateConfig, SampleConfig
from training.contract.records import Message
from training.run import endpoint
from training.run.optimization import device
from training.text.formatting import decode_completion, encode_completion
from training.text.policy import forbidden_token_ids, load_policy, stop_ids
from training.text.sampler import sample
from training.text.tokenizer import load_tokenizer


class PromptToSample(NamedTuple):
    """A prompt, its token ids, and its sampling seed; batches sampled here use the seed of their first prompt."""

    messages: Sequence[Message]
    ids: list[int]
    seed: int


class Drawn(NamedTuple):
    """One completion."""

    text: str
    ids: list[int]  # with the end-of-text token if it is finished
    finished: bool
    logprob: float | None  # of the whole completion at the config's temperature, nats; None if unknown


# Part of the requested completions: the index of the first and the completions, or why an endpoint refuses them.
Came = tuple[int, list[Drawn] | endpoint.Refused]


class Source(NamedTuple):
    """A policy that can be sampled from; `model` is None if an endpoint serves it."""

    tokenizer: PreTrainedTokenizerBase
    model: Any | None
    draw: Callable[[Sequence[PromptToSample]], Iterator[Came]]  # one completion per entry, as they arrive


def seed_of(*numbers: int) -> int:
    """Return a seed below 2^31 that depends on the numbers and on nothing drawn before."""
    return int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "big") >> 1


def load_source(
    config: SampleConfig | EvaluateConfig,
    folder: Path,
    name: str | None,
    stopping: Callable[[], bool] = lambda: False,
) -> Source:
    """Load the policy at `folder`, which an endpoint knows by `name`.

    Once `stopping()` is true, an endpoint gets no new requests, and drawing ends with those already sent.
    """
    by, address = config.sampler, config.endpoint
    if by == "endpoint":
        assert address is not None and name is not None  # by the config's rules
        tokenizer = load_tokenizer(folder, config)

        def ask(prompts: Sequence[PromptToSample]) -> Iterator[Came]:
            for place, came in endpoint.ask(
                address,
                name,
                [endpoint.Request(prompt.messages, prompt.seed) for prompt in prompts],
                max_tokens=config.max_completion_tokens,
                temperature=config.temperature,
                stopping=stopping,
            ):
                if isinstance(came, endpoint.Refused):
                    yield place, came
                else:
                    yield place, [_drawn(tokenizer, answer, config.temperature) for answer in came]

        return Source(tokenizer, None, ask)
    model, tokenizer = load_policy(folder, config=config)
    model.to(device())

    def draw(prompts: Sequence[PromptToSample]) -> Iterator[Came]:
        sampled = sample(
            model,
            [prompt.ids for prompt in prompts],
            max_new_tokens=config.max_completion_tokens,
            eos_token_id=stop_ids(model, tokenizer),
            forbidden=forbidden_token_ids(model, tokenizer),
            generator=torch.Generator().manual_seed(prompts[0].seed),
            temperature=config.temperature,
            rows_at_once=config.batch_size,
            by=by,
        )
        written = zip(
            sampled.texts(), sampled.finished.tolist(), sampled.logprobs.double().sum(1).tolist(), strict=True
        )
        yield 0, [Drawn(decode_completion(tokenizer, ids), ids, *more) for ids, *more in written]

    return Source(tokenizer, model, draw)


def _drawn(tokenizer: PreTrainedTokenizerBase, answer: endpoint.EndpointCompletion, temperature: float) -> Drawn:
    """Convert a server's answer; keep log-probs only at temperature 1, since servers report those whatever they use."""
    if answer.ids is None:
        ids = encode_completion(tokenizer, answer.text)
        return Drawn(answer.text, ids if answer.finished else ids[:-1], answer.finished, None)
    logprob = None
    if temperature == 1 and answer.logprobs is not None and len(answer.logprobs) == len(answer.ids):
        logprob = sum(answer.logprobs)
    return Drawn(answer.text, answer.ids, answer.finished, logprob)
