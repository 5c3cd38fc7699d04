"""Padded, packed and shared prompts: the same scores and gradients, in every family."""

import random

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    GPTJConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from training.fast import ragged_attention
from training.fast.shared_prefix import can_be_ragged, hidden_states, ragged
from training.reward.model import Pair, fastest_form, k_wise_loss, score_groups
from training.text.policy import without_dropout

PAD = 0
_SIZE = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
}
_GPT = {"vocab_size": 90, "n_embd": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
_IDS = {"num_labels": 1, "pad_token_id": PAD, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES = {
    "llama": LlamaConfig(intermediate_size=48, **_SIZE, **_IDS),
    "llama, grouped heads": LlamaConfig(intermediate_size=48, num_key_value_heads=2, **_SIZE, **_IDS),
    "mistral": MistralConfig(intermediate_size=48, num_key_value_heads=2, sliding_window=None, **_SIZE, **_IDS),
    "qwen2": Qwen2Config(intermediate_size=48, num_key_value_heads=2, **_SIZE, **_IDS),
    "qwen3": Qwen3Config(intermediate_size=48, num_key_value_heads=2, head_dim=16, **_SIZE, **_IDS),
    "gpt2": GPT2Config(**_GPT, **_IDS),
    "neox": GPTNeoXConfig(intermediate_size=48, **_SIZE, **_IDS),
    "gptj": GPTJConfig(rotary_dim=4, **_GPT, **_IDS),
}
RAGGED_FAMILIES = [name for name in FAMILIES if name != "gptj"]  # attention of its own, which cannot be replaced
NORMS_IN_FLOAT32 = ("llama", "qwen")  # transformers does so even in a float64 network


def network(family, dtype=torch.float64):
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_config(without_dropout(FAMILIES[family])).to(dtype).eval()


def mixed_groups(seed=0, no_prompt=True):
    """Make groups: K = 2 to 9, prompts of 0 to 70 tokens; completions that are a prefix of another, empty, equal."""
    rng = random.Random(seed)

    def tokens(count):
        return [rng.randrange(3, 90) for _ in range(count)]

    groups = [
        (tokens(rng.choice([3, 10, 70])), [tokens(rng.choice([1, 4, 9, 40])) for _ in range(k)]) for k in range(2, 10)
    ]
    groups.append((tokens(12), [tokens(7) for _ in range(4)]))
    groups.append(([5, 6, 7], [[8], [8, 9], [8, 9, 10], [8, 9]]))
    groups.append(([5, 6, 7], [[8, 9], [], [4]]))
    if no_prompt:
        groups.append(([], [tokens(5), tokens(2)]))
    return groups


def all_pairs(groups, seed=1):
    rng = random.Random(seed)
    pairs, first = [], 0
    for _, completions in groups:
        order = rng.sample(range(len(completions)), len(completions))
        pairs.append([Pair(first + a, first + b) for i, a in enumerate(order) for b in order[i + 1 :]])
        first += len(completions)
    return pairs


def loss_and_gradients(model, groups, form, batches=1):
    """Return scores, and the gradients of Eq. 1, of all groups in so many micro-batches."""
    model.zero_grad()
    scores = []
    for number in range(batches):
        part = groups[number::batches]
        got = score_groups(model, part, PAD, form)
        k_wise_loss(got, all_pairs(part, seed=number), len(groups)).backward()
        scores += got.detach().split([len(completions) for _, completions in part])
    return torch.cat(scores), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def states(model, row, needed=None, select=slice(None)):
    """Return hidden states, and the gradients of a function of them."""
    model.zero_grad()
    hidden = hidden_states(model, row, needed)[select]
    hidden.sin().sum().backward()
    return hidden.detach(), {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}


def assert_same(gradients, expected, tolerance):
    """Compare every parameter's gradient; one that cancels out to nothing is compared relative to the size of all."""
    assert gradients.keys() == expected.keys()
    whole = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    for name, gradient in expected.items():
        assert (gradients[name] - gradient).norm() <= tolerance * (gradient.norm() + 1e-3 * whole), name


@pytest.mark.parametrize("form", ["packed", "shared"])
@pytest.mark.parametrize("family", RAGGED_FAMILIES)
def test_scores_and_gradients_are_those_of_the_padded_form(family, form):
    model, groups = network(family), mixed_groups()
    assert can_be_ragged(model)
    scores, gradients = loss_and_gradients(model, groups, "padded")
    ours, our_gradients = loss_and_gradients(model, groups, form)
    # score() returns float32, as the loss needs it.
    torch.testing.assert_close(ours, scores, rtol=1e-6, atol=1e-6)
    tolerance = 1e-5 if family.startswith(NORMS_IN_FLOAT32) else 1e-6
    assert_same(our_gradients, gradients, tolerance)


@pytest.mark.parametrize("family", ["gpt2", "neox"])
def test_in_float64_nothing_but_rounding_differs(family):
    model, groups = network(family), mixed_groups(1)
    row, whole = ragged(groups), ragged([([], [[*prompt, *c] for prompt, cs in groups for c in cs])])
    (ours, gradients), (alone, expected) = (states(model, one, select=one.last) for one in (row, whole))
    torch.testing.assert_close(ours, alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("family", RAGGED_FAMILIES)
def test_in_float32_to_its_precision(family):
    model, groups = network(family, torch.float32), mixed_groups(2)
    assert can_be_ragged(model)
    scores, gradients = loss_and_gradients(model, groups, "padded")
    ours, our_gradients = loss_and_gradients(model, groups, "shared")
    torch.testing.assert_close(ours, scores, rtol=1e-3, atol=1e-3)
    assert_same(our_gradients, gradients, 2e-3)


@pytest.mark.parametrize("form", ["padded", "packed", "shared"])
@pytest.mark.parametrize("batches", [2, 5, 12])
def test_the_gradient_does_not_depend_on_micro_batches(form, batches):
    model, groups = network("neox"), mixed_groups(3)
    model.zero_grad()
    for group, pairs in zip(groups, _pairs_alone(groups, batches), strict=True):
        k_wise_loss(score_groups(model, [group], PAD, "padded"), [pairs], len(groups)).backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    _, gradients = loss_and_gradients(model, groups, form, batches)
    assert_same(gradients, expected, 1e-6)


def _pairs_alone(groups, batches):
    """Return the pairs that loss_and_gradients gives each group, as indices into its own completions."""
    alone = [None] * len(groups)
    for number in range(batches):
        part = groups[number::batches]
        for place, pairs in enumerate(all_pairs(part, seed=number)):
            first = sum(len(completions) for _, completions in part[:place])
            alone[number + place * batches] = [Pair(a - first, b - first) for a, b, *_ in pairs]
    return alone


@pytest.mark.parametrize("family", ["llama, grouped heads", "gpt2"])
def test_the_way_of_other_devices_gives_the_same(family, monkeypatch):
    """Devices without the CPU kernel use a mask within each group."""
    model, row = network(family), ragged(mixed_groups(4))
    assert can_be_ragged(model)
    ours, gradients = states(model, row)

    def masked(query, key, value, _, scale):
        return ragged_attention._masked(query, key, value, row.layout, scale)

    monkeypatch.setattr(ragged_attention._Flash, "apply", masked)
    theirs, their_gradients = states(model, row)
    torch.testing.assert_close(theirs, ours, rtol=1e-6, atol=1e-6)
    assert_same(their_gradients, gradients, 1e-5)


def test_gradient_checkpointing_and_bfloat16_change_no_more_than_rounding():
    model, groups = network("llama", torch.float32), mixed_groups(5)
    assert can_be_ragged(model)
    model.train()
    scores, gradients = loss_and_gradients(model, groups, "shared")
    model.activation_checkpointing_enable({"use_reentrant": False})
    again, recomputed = loss_and_gradients(model, groups, "shared")
    assert torch.equal(again, scores) and all(torch.equal(recomputed[name], gradients[name]) for name in gradients)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = score_groups(model, groups, PAD, "shared")
        padded = score_groups(model, groups, PAD, "padded")
    spread = scores.std()
    assert (coarse - scores).abs().mean() < 0.1 * spread and (padded - scores).abs().mean() < 0.1 * spread


def test_a_family_that_attends_by_itself_is_padded():
    model = network("gptj")
    groups = mixed_groups(no_prompt=False)
    assert not can_be_ragged(model) and fastest_form(model, groups) == "padded"
    assert len(score_groups(model, groups, PAD)) == sum(len(completions) for _, completions in groups)


def test_a_network_that_mixes_tokens_outside_attention_is_found_out():
    model = network("llama")
    mixing = model.base_model.layers[0].mlp.register_forward_hook(lambda _, __, output: output.cumsum(1))
    assert not can_be_ragged(model)
    mixing.remove()
    assert can_be_ragged(network("llama"))


def test_a_window_shorter_than_a_sequence_is_refused_not_ignored():
    config = MistralConfig(intermediate_size=48, num_key_value_heads=2, sliding_window=16, **_SIZE, **_IDS)
    model = AutoModelForSequenceClassification.from_config(config)
    assert fastest_form(model, [([5] * 8, [[6] * 8, [7] * 7])]) != "padded"
    assert fastest_form(model, [([5] * 8, [[6] * 9, [7] * 7])]) == "padded"


def test_what_is_no_sequence_at_all_is_refused():
    with pytest.raises(ValueError, match="no tokens has no last one"):
        ragged([([], [[1], []])])


@pytest.mark.parametrize(
    ("prompt", "lengths", "form"),
    [
        (128, [64] * 9, "shared"),
        (16, [16] * 4, "shared"),
        (4, [128, 40, 90, 130], "packed"),
        (4, [64, 64], "packed"),
    ],
)
def test_the_form_follows_from_the_shape(prompt, lengths, form):
    assert fastest_form(network("llama"), [([5] * prompt, [[6] * length for length in lengths])]) == form
