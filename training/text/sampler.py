"""Sampling: one prefill per distinct prompt, temperature only, finished rows leave, chosen tokens' log-probs are kept.

This holds for every network whose cache gives the log-probs of a forward pass, which `writes_by` tries. Others are
sampled by transformers' generate, or by a forward pass per token.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from training.fast.shared_prefix import turns_alike_up_to
from training.run import parallel
from training.text.sampling_trial import writes_by
from training.text.sampling_ways import Drawing, by_cache, by_generate, by_passes

_WAYS = {"own": by_cache, "transformers": by_generate, "forward": by_passes}


@dataclass
class Sampled:
    """N completions, padded on the right to the longest T; tensors are on the CPU."""

    tokens: Tensor  # (N, T) int64, the pad id after the end
    mask: Tensor  # (N, T) bool, True on real tokens, the end-of-text token included
    logprobs: Tensor  # (N, T) float32, over the whole vocabulary at the sampling temperature; 0 after the end
    finished: Tensor  # (N,) bool, False where the token limit came before the end-of-text token

    def texts(self) -> list[list[int]]:
        """Return each completion's real token ids."""
        return [row[keep].tolist() for row, keep in zip(self.tokens, self.mask, strict=True)]


@torch.no_grad()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_token_id: int | Collection[int],
    forbidden: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    rows_at_once: int = 512,
    by: Literal["own", "transformers"] = "own",
) -> Sampled:
    """Sample one completion for each entry of `prompts` (repeat a prompt to get several); temperature 0 is greedy.

    A completion ends with `eos_token_id`, or any of them. `forbidden` (F,) holds the ids that no policy may write
    (policy.forbidden_token_ids), the pad id first. Each row draws from its own uniform numbers, so its text depends on
    `generator` and its place in `prompts`, but not on `rows_at_once`, on when other rows end, or on how many processes
    share the work. With `by` = "transformers" it depends on these too.
    """
    if temperature < 0:
        raise ValueError(f"temperature: {temperature} is below 0; 0 is greedy, 1 samples the policy itself")
    if not all(prompts):
        raise ValueError("prompts: one of them has no token; every prompt needs at least one")
    uniforms = torch.rand(len(prompts), max_new_tokens, generator=generator, dtype=torch.float64)
    drawing = Drawing(uniforms, temperature, _ends(eos_token_id), forbidden)
    room = turns_alike_up_to(model) - max_new_tokens  # a longer prompt would change the completions of shorter ones
    tokens = torch.full(uniforms.shape, drawing.pad_id)
    logprobs = torch.zeros(len(prompts), max_new_tokens)
    lengths = torch.zeros(len(prompts), dtype=torch.int64)
    was_training = model.training
    model.eval()
    # Rows of one prompt, and prompts of one length, are adjacent: fewer prefills and less padding.
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), tuple(prompts[row])))
    mine = torch.tensor(order).tensor_split(parallel.process_count())[parallel.process_number()]
    try:
        alike = sum(len(prompts[row]) <= room for row in mine)
        for rows in [*mine[:alike].split(rows_at_once), *mine[alike:].split(1)]:
            asked = [tuple(prompts[row]) for row in rows]
            if not asked:
                continue
            way = _WAYS[writes_by(model, max(map(len, asked)) + max_new_tokens) if by == "own" else by]
            # Inference mode makes the many small operations cheaper; sharded weights cannot be gathered in it.
            with torch.inference_mode() if parallel.process_count() == 1 else torch.no_grad():
                for place, step in enumerate(way(model, asked, drawing.of(rows))):
                    some = rows[step.rows]
                    tokens[some, place], logprobs[some, place], lengths[some] = step.tokens, step.logprobs, place + 1
    finally:
        model.train(was_training)
    for rows, *written in parallel.gather((mine, tokens[mine], logprobs[mine], lengths[mine])):
        tokens[rows], logprobs[rows], lengths[rows] = written
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    finished = torch.isin(tokens.gather(1, lengths[:, None] - 1).squeeze(1), drawing.ends)
    return Sampled(tokens[:, :longest].clone(), mask, logprobs[:, :longest].clone(), finished)


@torch.no_grad()
def stream(
    model: Any,
    prompt: Sequence[int],
    *,
    max_new_tokens: int,
    eos_token_id: int | Collection[int],
    forbidden: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Iterator[int]:
    """Yield the token ids that `sample` gives for this prompt, each once it is chosen; `model` must be in eval mode."""
    uniforms = torch.rand(1, max_new_tokens, generator=generator, dtype=torch.float64)
    drawing = Drawing(uniforms, temperature, _ends(eos_token_id), forbidden)
    by = writes_by(model, len(prompt) + max_new_tokens)
    way = by_cache if by == "own" else by_passes  # generate would return all at the end
    for step in way(model, [tuple(prompt)], drawing):
        yield int(step.tokens)


def _ends(ids: int | Collection[int]) -> Tensor:
    return torch.tensor([ids] if isinstance(ids, int) else sorted(ids), dtype=torch.int64)
