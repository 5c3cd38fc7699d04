"""Sampling: one prefill per distinct prompt, temperature only, finished rows leave, chosen tokens' log-probs are kept.

This holds for every network whose cache gives the log-probs of a forward pass, which `writes_by` tries. Others are
sampled by transformers' generate, or by a forward pass per token.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Cache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from training.fast.caches import PromptCache, closed_up, room_cache
from training.fast.shared_prefix import (
    as_loaded,
    can_be_ragged,
    layout_arguments,
    near,
    trial_sequences,
    turns_alike_up_to,
)
from training.networks.forms import Sampler, computed, forms, head_of, padded_states
from training.run import parallel
from training.text.policy import completion_logprobs, mask_logits, pad, position_ids

TRIAL_TOKENS = 6
PREFILL_TOKENS = 2048  # prompt tokens read at once on a CPU, where more is no faster and takes more memory


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
    ends = _ends(eos_token_id)
    room = turns_alike_up_to(model) - max_new_tokens  # a longer prompt would change the completions of shorter ones
    uniforms = torch.rand(len(prompts), max_new_tokens, generator=generator, dtype=torch.float64)
    tokens = torch.full((len(prompts), max_new_tokens), int(forbidden[0]))
    logprobs = torch.zeros(len(prompts), max_new_tokens)
    lengths = torch.zeros(len(prompts), dtype=torch.int64)
    was_training = model.training
    model.eval()
    # Rows of one prompt, and prompts of one length, are adjacent: fewer prefills and less padding.
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), tuple(prompts[row])))
    mine = torch.tensor(order).tensor_split(parallel.count())[parallel.number()]
    try:
        alike = sum(len(prompts[row]) <= room for row in mine)
        for rows in [*mine[:alike].split(rows_at_once), *mine[alike:].split(1)]:
            asked = [tuple(prompts[row]) for row in rows]
            if not asked:
                continue
            rows_by = _BY[writes_by(model, max(map(len, asked)) + max_new_tokens) if by == "own" else by]
            # Inference mode makes the many small operations cheaper; sharded weights cannot be gathered in it.
            with torch.inference_mode() if parallel.count() == 1 else torch.no_grad():
                for step, (going, chosen, chosen_logprobs) in enumerate(
                    rows_by(model, asked, uniforms[rows], temperature, ends, forbidden)
                ):
                    places = rows[going]
                    tokens[places, step], logprobs[places, step], lengths[places] = chosen, chosen_logprobs, step + 1
    finally:
        model.train(was_training)
    for rows, *written in parallel.gather((mine, tokens[mine], logprobs[mine], lengths[mine])):
        tokens[rows], logprobs[rows], lengths[rows] = written
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    finished = torch.isin(tokens.gather(1, lengths[:, None] - 1).squeeze(1), ends)
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
    by = writes_by(model, len(prompt) + max_new_tokens)
    rows_by = _sample_rows if by == "own" else _forward_rows  # generate would return all at the end
    for _going, chosen, _logprobs in rows_by(
        model, [tuple(prompt)], uniforms, temperature, _ends(eos_token_id), forbidden
    ):
        yield int(chosen)


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
            if _own_is_right(model, [short, long, long]):
                found.sampler = "own"
            else:
                found.left_padded = _generate_is_right(model, [short, long])
                alike = found.left_padded or all(_generate_is_right(model, [prompt] * 2) for prompt in (short, long))
                found.sampler = "transformers" if alike else "forward"
    return found.sampler if longest <= turns_alike_up_to(model) else "transformers"


def _own_is_right(model: Any, prompts: list[tuple[int, ...]]) -> bool:
    count = len(prompts) * TRIAL_TOKENS
    uniforms = torch.linspace(0.05, 0.95, count, dtype=torch.float64).view(TRIAL_TOKENS, -1).T
    never, pad_id = torch.empty(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64, device=model.device)
    texts, logprobs = [list(prompt) for prompt in prompts], [[] for _ in prompts]
    try:
        for _, chosen, found in _sample_rows(model, prompts, uniforms, 1.0, never, pad_id):
            for row, (token, logprob) in enumerate(zip(chosen.tolist(), found.tolist(), strict=True)):
                texts[row].append(token)
                logprobs[row].append(logprob)
    except Exception:  # it caches something other than keys and values, or takes other arguments
        return False
    limit = 2e-3 if model.dtype == torch.float32 else 0.2  # relative to the spread of a vocabulary's log-probs
    for text, found in zip(texts, logprobs, strict=True):
        whole = _whole_logits(model, text)[-TRIAL_TOKENS - 1 : -1]
        spread = whole.std(-1).clamp_min(1e-6)
        written = torch.tensor(text[-TRIAL_TOKENS:], device=whole.device)
        expected = mask_logits(whole, pad_id).log_softmax(-1).gather(1, written[:, None])[:, 0]
        if not bool(((expected - expected.new_tensor(found)).abs() <= limit * spread).all()):
            return False
    return True


def _generate_is_right(model: Any, prompts: list[tuple[int, ...]]) -> bool:
    ids, attention = pad(prompts, 0, left=True, device=model.device)
    settings = GenerationConfig(
        do_sample=False, max_new_tokens=TRIAL_TOKENS, pad_token_id=0, output_logits=True, return_dict_in_generate=True
    )
    try:
        written = _generate(model, ids, attention, settings)
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


def _sample_rows(
    model: Any,
    prompts: list[tuple[int, ...]],
    uniforms: Tensor,
    temperature: float,
    ends: Tensor,
    forbidden: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for each step the unfinished rows (B,), their tokens (B,) and log-probs (B,), all on the CPU."""
    device = model.device
    shares = can_be_ragged(model, max(map(len, prompts)) + uniforms.shape[1])
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    ids, attention = pad(list(distinct), int(forbidden[0]), left=True, device=device)
    cache, logits = _prefill(model, ids, attention)
    going, owners = torch.arange(len(prompts)), torch.tensor([distinct[prompt] for prompt in prompts], device=device)
    logits, positions = logits[owners], attention.sum(dim=1)[owners]
    written = ids.shape[1]
    shared = shares and len(prompts) > 1 and _can_share(cache)
    if shared:
        cache = PromptCache(cache, attention, owners)
    else:
        cache.batch_select_indices(owners)
        # If no prompt is padded, the model gets no mask: it would scan it at every step.
        attention = None if attention.all() else torch.cat([attention[owners], attention.new_ones(uniforms.shape)], 1)
    for step in range(uniforms.shape[1]):
        chosen, logprobs = _choose(logits, uniforms[going, step].to(device), temperature, forbidden)
        yield going, chosen.cpu(), logprobs.cpu()
        unfinished = ~torch.isin(chosen, ends.to(device))
        if step + 1 == uniforms.shape[1] or not unfinished.any():
            return
        if not unfinished.all():  # finished rows leave the batch, and their keys and values the cache
            keep = closed_up(unfinished)
            cache.batch_select_indices(keep)
            going, chosen, positions = going[keep.cpu()], chosen[keep], positions[keep]
            attention = attention if shared or attention is None else attention[keep]
        written += 1
        seen = {"attention_mask": None if attention is None else attention[:, :written]}
        logits = model(
            input_ids=chosen[:, None],
            position_ids=positions[:, None],
            past_key_values=cache,
            use_cache=True,
            **(layout_arguments(model, cache) if shared else seen),
        ).logits[:, -1]
        positions = positions + 1


def _prefill(model: Any, ids: Tensor, attention: Tensor) -> tuple[Cache, Tensor]:
    """Return the cache of P prompts [P, S], padded on the left, and the logits [P, V] after each; in parts on a CPU."""
    alike = all(isinstance(layer, DynamicLayer) for layer in room_cache(model.config).layers)
    rows = max(1, PREFILL_TOKENS // ids.shape[1]) if alike and ids.device.type == "cpu" else len(ids)
    logits, caches = [], []
    for some_ids, some_attention in zip(ids.split(rows), attention.split(rows), strict=True):
        output = model(
            input_ids=some_ids,
            attention_mask=some_attention,
            position_ids=position_ids(some_attention),
            past_key_values=room_cache(model.config),
            use_cache=True,
            logits_to_keep=1,
        )
        logits.append(output.logits[:, -1])
        caches.append(output.past_key_values)
    for layer, *others in zip(*(cache.layers for cache in caches), strict=True) if len(caches) > 1 else ():
        layer.keys = torch.cat([layer.keys, *(other.keys for other in others)])
        layer.values = torch.cat([layer.values, *(other.values for other in others)])
    return caches[0], torch.cat(logits)


def _generate_rows(
    model: Any,
    prompts: list[tuple[int, ...]],
    uniforms: Tensor,
    temperature: float,
    ends: Tensor,
    forbidden: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Do the same as `_sample_rows` by transformers' generate, with log-probs from a forward pass over its output."""
    rows: dict[int, list[int]] = {}  # by prompt length where padding would be seen, else all together
    for row, prompt in enumerate(prompts):
        rows.setdefault(0 if forms(model).left_padded else len(prompt), []).append(row)
    tokens = torch.full((len(prompts), uniforms.shape[1]), int(forbidden[0]))
    logprobs, lengths = torch.zeros(tokens.shape), torch.zeros(len(prompts), dtype=torch.int64)
    for alike in map(torch.tensor, rows.values()):
        written = _generated([prompts[row] for row in alike], uniforms[alike], model, temperature, ends, forbidden)
        for whole, part in zip((tokens, logprobs), written[:2], strict=True):
            whole[alike, : part.shape[1]] = part.cpu()
        lengths[alike] = written[2].cpu()
    for step in range(int(lengths.max())):
        going = (lengths > step).nonzero().squeeze(1)
        yield going, tokens[going, step], logprobs[going, step]


def _generated(
    prompts: list[tuple[int, ...]], uniforms: Tensor, model: Any, temperature: float, ends: Tensor, forbidden: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens [B, T], log-probs [B, T] and lengths [B] of what generate writes after these prompts."""
    device = model.device
    ids, attention = pad(prompts, int(forbidden[0]), left=True, device=device)
    settings = GenerationConfig(
        do_sample=temperature > 0, temperature=temperature or 1.0, top_k=0, top_p=1.0, eos_token_id=ends.tolist(),
        pad_token_id=int(forbidden[0]), suppress_tokens=forbidden.tolist(), max_new_tokens=uniforms.shape[1],
    )  # fmt: skip
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(uniforms[0, 0] * 2**53))
        written = _generate(model, ids, attention, settings)
    tokens = written[:, ids.shape[1] :]
    ended = torch.isin(tokens, ends.to(device)).long()
    mask = ended.cumsum(1) - ended == 0  # up to and including the first token that ends it
    lengths = mask.sum(1)
    whole = torch.cat([attention, mask.long()], 1)
    logprobs = completion_logprobs(
        model, written, whole, attention.sum(1), lengths, forbidden, temperature or 1.0
    )  # fmt: skip
    return tokens, logprobs, lengths


def _generate(model: Any, ids: Tensor, attention: Tensor, settings: GenerationConfig) -> Any:
    """Call generate with these settings alone; it would otherwise add the network's own."""
    known, model.generation_config = model.generation_config, settings
    try:
        return model.generate(ids, attention_mask=attention)
    finally:
        model.generation_config = known


def _forward_rows(
    model: Any,
    prompts: list[tuple[int, ...]],
    uniforms: Tensor,
    temperature: float,
    ends: Tensor,
    forbidden: Tensor,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Do the same as `_sample_rows` by a pass over the whole text for each token: right for any network, but slow."""
    texts, going = [list(prompt) for prompt in prompts], torch.arange(len(prompts))
    for step in range(uniforms.shape[1]):
        ids, mask = pad([texts[row] for row in going], int(forbidden[0]), device=model.device)
        last = mask.sum(1).cumsum(0) - 1
        logits = head_of(model)(padded_states(model, ids, mask)[last])
        chosen, logprobs = _choose(logits, uniforms[going, step].to(model.device), temperature, forbidden)
        yield going, chosen.cpu(), logprobs.cpu()
        for row, token in zip(going, chosen.tolist(), strict=True):
            texts[row].append(token)
        going = going[~torch.isin(chosen.cpu(), ends)]
        if not len(going):
            return


_BY = {"own": _sample_rows, "transformers": _generate_rows, "forward": _forward_rows}


def _can_share(cache: Any) -> bool:
    """Return whether the cache of a ragged network can hold each prompt's keys and values once for all its samples.

    Only on a CPU in float32, where it was measured; in bfloat16 the scores would be rounded.
    """
    if not all(isinstance(layer, DynamicLayer) for layer in cache.layers):
        return False
    held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    alike = len({tensor.shape for tensor in held}) == 1
    return alike and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in held)


def _ends(ids: int | Collection[int]) -> Tensor:
    return torch.tensor([ids] if isinstance(ids, int) else sorted(ids), dtype=torch.int64)


def _choose(logits: Tensor, uniforms: Tensor, temperature: float, forbidden: Tensor) -> tuple[Tensor, Tensor]:
    """Choose tokens (B,) from logits (B, V) by inverse transform of `uniforms` (B,); returns them and log-probs (B,).

    Forbidden ids are never chosen; greedy log-probs are those at temperature 1.
    """
    logits = logits.float() if temperature in (0, 1) else logits.float() / temperature
    logits = mask_logits(logits, forbidden)
    logprobs = logits.log_softmax(dim=-1)
    if temperature == 0:
        chosen = logprobs.argmax(dim=-1)
    else:
        cumulative = logits.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
        # The first token whose cumulative probability exceeds the draw: one of probability 0 never does.
        draw = uniforms.clamp_max(1 - 2**-40) * cumulative[:, -1]
        chosen = torch.searchsorted(cumulative, draw[:, None], right=True).squeeze(1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)
