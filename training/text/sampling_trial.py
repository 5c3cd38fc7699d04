"""Which way of sampling is right for a network: tried on the network itself, like the forms of its passes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from training.fast.shared_prefix import as_loaded, near, trial_sequences, turns_alike_up_to
from training.networks.forms import Sampler, computed, forms, head_of
from training.text.logprobs import mask_logits
from training.text.padding import pad
from training.text.sampling_ways import Drawing, by_cache, generate

TRIAL_TOKENS = 6


def writes_by(model: Any, longest: int = 0) -> Sampler:
    """Return the fastest way to sample up to `longest` tokens whose log-probs are those of a forward pass.

    Tried once per network: its cache (keys and values, or recurrent state) must give what passes over the whole text
    give. No cache works where a longer text changes the rotary embedding of its first positions; there generate writes,
    and log-probs are taken from a forward pass.
    """
    found = forms(model)
    if found.sampler is None:
        with as_loaded(model):
            limit = turns_alike_up_to(model) - TRIAL_TOKENS
            short, long = (tuple(ids) for ids in trial_sequences(model, 3, 9, limit=limit))
            if _cache_is_right(model, [short, long, long]):
                found.sampler = "own"
            else:
                found.left_padded = _generate_is_right(model, [short, long])
                alike = found.left_padded or all(_generate_is_right(model, [prompt] * 2) for prompt in (short, long))
                found.sampler = "transformers" if alike else "forward"
    return found.sampler if longest <= turns_alike_up_to(model) else "transformers"


def _cache_is_right(model: Any, prompts: list[tuple[int, ...]]) -> bool:
    count = len(prompts) * TRIAL_TOKENS
    uniforms = torch.linspace(0.05, 0.95, count, dtype=torch.float64).view(TRIAL_TOKENS, -1).T
    never, pad_id = torch.empty(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64, device=model.device)
    texts = [list(prompt) for prompt in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    try:
        for _, tokens, found in by_cache(model, prompts, Drawing(uniforms, 1.0, never, pad_id)):
            for row, (token, logprob) in enumerate(zip(tokens.tolist(), found.tolist(), strict=True)):
                texts[row].append(token)
                logprobs[row].append(logprob)
    except Exception:  # it caches something other than keys and values, or takes other arguments
        return False
    limit = 2e-3 if model.dtype == torch.float32 else 0.2  # relative to the spread of a vocabulary's log-probs
    for text, ours in zip(texts, logprobs, strict=True):
        whole = _whole_logits(model, text)[-TRIAL_TOKENS - 1 : -1]
        spread = whole.std(-1).clamp_min(1e-6)
        written = torch.tensor(text[-TRIAL_TOKENS:], device=whole.device)
        expected = mask_logits(whole, pad_id).log_softmax(-1).gather(1, written[:, None])[:, 0]
        if not bool(((expected - expected.new_tensor(ours)).abs() <= limit * spread).all()):
            return False
    return True


def _generate_is_right(model: Any, prompts: list[tuple[int, ...]]) -> bool:
    ids, attention = pad(prompts, 0, left=True, device=model.device)
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=TRIAL_TOKENS, pad_token_id=0, output_logits=True, return_dict_in_generate=True
    )
    try:
        written = generate(model, ids, attention, settings)
        for row, prompt in enumerate(prompts):
            found = torch.stack([logits[row] for logits in written.logits])
            text = written.sequences[row, -len(prompt) - TRIAL_TOKENS :].tolist()
            if not near(model, found, _whole_logits(model, text)[-TRIAL_TOKENS - 1 : -1]):
                return False
    except Exception:  # it has no such method, or writes into a cache that it does not create itself
        return False
    return True


def _whole_logits(model: Any, text: Sequence[int]) -> Tensor:
    """Return the logits [S, V] of a forward pass."""
    return head_of(model)(computed(model, torch.tensor([list(text)], device=model.device))[0]).float()
