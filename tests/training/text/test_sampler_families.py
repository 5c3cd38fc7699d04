"""The sampler with each family of networks, against full forward passes and transformers' generate."""

import copy
from collections import Counter

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from training.fast.caches import BLOCK_TOKENS, PromptCache
from training.text.policy import without_dropout
from training.text.sampler import sample
from training.text.sampling_trial import writes_by

PAD, EOS = 0, 2
_SIZE = {
    "vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2,
    "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": EOS,
}  # fmt: skip
_GPT = {
    "vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2, "pad_token_id": PAD,
    "bos_token_id": 1, "eos_token_id": EOS,
}  # fmt: skip
SHARED = {
    "llama": LlamaConfig(intermediate_size=48, **_SIZE),
    "llama, grouped heads": LlamaConfig(intermediate_size=48, num_key_value_heads=2, **_SIZE),
    "qwen2": Qwen2Config(intermediate_size=48, num_key_value_heads=2, **_SIZE),
    "qwen3": Qwen3Config(intermediate_size=48, num_key_value_heads=2, head_dim=16, **_SIZE),
    "gpt2": GPT2Config(**_GPT),
    "neox": GPTNeoXConfig(intermediate_size=48, **_SIZE),
}
NOT_SHARED = {
    "gptj": GPTJConfig(rotary_dim=4, **_GPT),  # attention of its own, which cannot be replaced
    "a window of 8 tokens": MistralConfig(intermediate_size=48, num_key_value_heads=2, sliding_window=8, **_SIZE),
}
FAMILIES = SHARED | NOT_SHARED
A, B, C, D = [4, 5, 6], [7], [8, 9, 10, 11, 12, 13, 14], [15, 16]
UNEVEN = [A, B, A, C, A, B, D, A, A, C, D, A]  # six of one prompt, one of another
EVEN = [[4, 5, 6], [7, 8, 9], [4, 5, 6], [7, 8, 9]]  # nothing is padded
TOKENS = 4 * BLOCK_TOKENS + 10  # so that later, longer blocks are used


def network(family):
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(without_dropout(copy.deepcopy(FAMILIES[family]))).eval()
    writes_by(model)  # it is tried before a test counts its passes
    return model


def draw(model, prompts, **settings):
    settings = {"max_new_tokens": TOKENS, "eos_token_id": EOS, **settings}
    return sample(model, prompts, forbidden=torch.tensor([PAD]), generator=torch.Generator().manual_seed(5), **settings)


@torch.no_grad()
def plain_logprobs(family, prompt, completion, temperature):
    """Return log-probs (T,) of a completion's tokens without the pad, from one full pass of a fresh network."""
    logits = network(family)(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    logits[:, PAD] = -torch.inf
    return torch.log_softmax(logits / temperature, -1).gather(1, torch.tensor(completion)[:, None]).squeeze(1)


@pytest.mark.parametrize("prompts", [UNEVEN, EVEN], ids=["padded, uneven", "even"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logprobs_are_those_of_full_forward_passes(family, prompts):
    sampled = draw(network(family), prompts, temperature=1.5)
    lengths = sampled.mask.sum(1).tolist()
    assert len(set(lengths)) > 1 and max(lengths) > 2 * BLOCK_TOKENS, "some end early, some go on"
    for prompt, ids, logprobs in zip(prompts, sampled.texts(), sampled.logprobs, strict=True):
        expected = plain_logprobs(family, prompt, ids, 1.5)
        torch.testing.assert_close(logprobs[: len(ids)], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_what_generate_writes(family):
    sampled = draw(network(family), [A, B, C, D], temperature=0)
    for prompt, ids in zip([A, B, C, D], sampled.texts(), strict=True):
        written = network(family).generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
            max_new_tokens=TOKENS, suppress_tokens=[PAD],
        )  # fmt: skip
        assert ids == written[0, len(prompt) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_are_held_once_where_that_is_the_same_and_samples_do_not_tell(family):
    model, caches = network(family), Counter()
    model.register_forward_pre_hook(
        lambda _, __, given: caches.update([type(given["past_key_values"])]), with_kwargs=True
    )
    sampled = draw(model, UNEVEN)
    assert (caches[PromptCache] > 0) == (family in SHARED)
    model._can_be_ragged = False
    caches.clear()
    apart = draw(model, UNEVEN)
    assert not caches[PromptCache]
    assert sampled.texts() == apart.texts()
    torch.testing.assert_close(sampled.logprobs, apart.logprobs, rtol=0, atol=1e-5)


def test_a_prompt_without_rows_is_dropped_and_one_key_is_held_per_prompt():
    model, held = network("llama"), []
    model.register_forward_pre_hook(lambda _, __, given: held.append(given["past_key_values"]), with_kwargs=True)
    draw(model, UNEVEN * 3, eos_token_id=5)
    cache = next(each for each in held if isinstance(each, PromptCache))
    assert cache.prompts.shape[2] == 4
    assert cache.count < 4 and len(cache.owners) < 36
    assert set(cache.owners.tolist()) == set(range(cache.count))


def test_in_bfloat16_prompts_are_not_shared():
    model, caches = network("llama").to(torch.bfloat16), Counter()
    model.register_forward_pre_hook(
        lambda _, __, given: caches.update([type(given["past_key_values"])]), with_kwargs=True
    )
    assert len(draw(model, UNEVEN).texts()) == len(UNEVEN)
    assert not caches[PromptCache]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_learns_on_after_it_was_sampled_from(family):
    model = network(family)
    sampled = draw(model, UNEVEN)
    logits = model(input_ids=sampled.tokens[:, :-1]).logits
    chosen = torch.log_softmax(logits, -1).gather(2, sampled.tokens[:, 1:, None]).squeeze(2)
    ((chosen - sampled.logprobs[:, 1:]).exp() * sampled.mask[:, 1:]).sum().backward()
    assert all(torch.isfinite(weights.grad).all() for weights in model.parameters() if weights.grad is not None)
    assert sum(weights.grad is not None for weights in model.parameters()) > 10
