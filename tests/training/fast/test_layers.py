"""Llama-like layers by our own functions: the same numbers and gradients, and less work if less is read."""

import gc
import weakref
from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GraniteConfig

from tests.training.fast.test_shared_prefix import FAMILIES, mixed_groups, network, states
from training.fast import layers
from training.fast.shared_prefix import can_be_ragged, hidden_states, ragged

OURS = ["llama", "llama, grouped heads", "mistral", "qwen2", "qwen3"]
HEADS = {"head_dim": 8, "num_key_value_heads": 2}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "vocab_size": 90}


def computed(model):
    """Return the modules whose computation is replaced."""
    return [module for module in model.modules() if hasattr(module, "stock")]


def assert_same(ours, wanted):
    """Assert that each tensor is within a hundred-thousandth of its length."""
    (hidden, gradients), (expected, expected_gradients) = ours, wanted
    assert hidden.shape == expected.shape and gradients.keys() <= expected_gradients.keys()
    for name, gradient in (expected_gradients | {"hidden": expected}).items():
        found = hidden if name == "hidden" else gradients.get(name, torch.zeros_like(gradient))
        assert (found - gradient).norm() <= 1e-5 * gradient.norm(), name


def fresh(family, dtype=torch.float32):
    """Create a network that computes its layers by our functions, if its family does."""
    model = network(family, dtype)
    assert can_be_ragged(model)
    return model


@pytest.mark.parametrize("family", OURS)
def test_they_compute_what_transformers_does(family):
    """The same row goes through a copy whose modules compute as in transformers."""
    ours, row = fresh(family), ragged(mixed_groups())
    theirs = deepcopy(ours)
    layers.abandon(theirs)
    assert len(computed(ours)) == (4 * 2 + 1 if family != "qwen3" else 6 * 2 + 1) and not computed(theirs)
    assert_same(states(ours, row), states(theirs, row))


@pytest.mark.parametrize("family", [*OURS, "gpt2", "neox"])
@pytest.mark.parametrize("reads", ["ends", "some", "none", "one", "all"])
def test_what_is_not_read_changes_nothing(family, reads):
    model, row = fresh(family, torch.float64), ragged(mixed_groups())
    tokens = row.input_ids.shape[1]
    needed = torch.zeros(tokens, dtype=torch.bool)
    if reads == "ends":
        needed[row.last] = True
    elif reads == "some":  # with holes, prompts among them
        needed = torch.rand(tokens, generator=torch.Generator().manual_seed(5)) < 0.2
    elif reads == "one":
        needed[7] = True
    elif reads == "all":
        needed[:] = True
    wanted = states(model, row, select=needed)
    assert_same(states(model, row, needed), wanted)


def test_the_last_layer_goes_no_further_with_tokens_that_nobody_reads():
    model, row = fresh("llama"), ragged([([], [list(range(3, 15)), list(range(3, 40))])])
    taken = {}
    for name, module in model.base_model.named_modules():
        if name.endswith(("_proj", "norm")):
            module.register_forward_hook(lambda _, args, __, name=name: taken.update({name: args[0].shape[1]}))
    needed = torch.zeros(49, dtype=torch.bool)
    needed[[5, 6, 7, 48]] = True
    hidden_states(model, row, needed)
    everything = {"input_layernorm", "self_attn.k_proj", "self_attn.v_proj"}
    for name, tokens in taken.items():
        last = name == "norm" or (name.startswith("layers.1.") and name.removeprefix("layers.1.") not in everything)
        assert tokens == (4 if last else 49), name


def test_the_gradients_of_norm_and_rotary_embedding_are_those_of_small_differences():
    generator = torch.Generator().manual_seed(2)

    def numbers(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, weight = numbers(2, 3, 6).requires_grad_(), numbers(6).requires_grad_()
    assert torch.autograd.gradcheck(layers._Norm.apply, (x, weight, 1e-5))
    expected = x * (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt() * weight
    torch.testing.assert_close(layers._Norm.apply(x, weight, 1e-5), expected)
    heads, (cos, sin) = numbers(2, 3, 2, 6).requires_grad_(), numbers(2, 2, 3, 3).tile(2)
    assert torch.autograd.gradcheck(layers._Rotary.apply, (heads, cos, sin))


@pytest.mark.parametrize("config", [GraniteConfig(**SMALL, residual_multiplier=0.9), Gemma2Config(**SMALL, **HEADS)])
def test_other_families_keep_their_own(config):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    can_be_ragged(model)
    assert not computed(model) and not layers.adopt(model, None)


def test_a_network_that_our_attention_cannot_serve_is_padded():
    def refuse(module, args, kwargs):
        if "layout" in kwargs:
            raise RuntimeError("shapes do not fit")

    model = network("llama")
    model.base_model.layers[1].self_attn.register_forward_pre_hook(refuse, with_kwargs=True)
    assert not can_be_ragged(model) and not computed(model)


def test_in_bfloat16_to_its_precision():
    model, row = network("llama", torch.float32), ragged(mixed_groups())
    wanted = fresh("llama")
    expected, gradients = states(wanted, row)
    coarse = model.to(torch.bfloat16)
    assert can_be_ragged(coarse) and computed(coarse)
    hidden, found = states(coarse, row)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, also_found = states(wanted, row)
    for one, theirs in ((hidden, found), (mixed, also_found)):
        assert (one.float() - expected).norm() < 0.05 * expected.norm()
        for name, gradient in gradients.items():
            assert (theirs[name].float() - gradient).norm() < 0.3 * gradient.norm(), name


def test_a_network_that_is_let_go_is_gone_at_once():
    """Reference cycles would keep its weights until the next garbage collection."""
    model = fresh("llama")
    weights = weakref.ref(model.base_model.layers[0].mlp.up_proj.weight)
    gc.disable()
    try:
        del model
        assert weights() is None
    finally:
        gc.enable()


def test_a_copy_computes_with_its_own_weights():
    model = fresh("llama")
    row, copy = ragged([([], [[3, 4, 5]])]), deepcopy(model)
    before = hidden_states(model, row)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.mul_(2)
    assert not torch.allclose(hidden_states(copy, row), before) and torch.equal(hidden_states(model, row), before)


def test_attention_that_differs_from_sequence_to_sequence_is_that_of_padded_rows():
    """Qwen with windows in some layers, while all sequences fit into them."""
    config = deepcopy(FAMILIES["qwen2"])
    config.use_sliding_window, config.sliding_window = True, 20
    config.layer_types = ["full_attention"] * (config.num_hidden_layers - 1) + ["sliding_attention"]
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.arange(3, 21)
    expected = model.base_model(ids[None], use_cache=False).last_hidden_state[0]
    assert can_be_ragged(model, 20) and not can_be_ragged(model, 21)
    torch.testing.assert_close(hidden_states(model, ragged([([], [ids.tolist()])])), expected, rtol=1e-4, atol=1e-4)
    longer = torch.arange(3, 40)  # by transformers' padded way, through our layers
    padded = model.base_model(longer[None], use_cache=False).last_hidden_state[0]
    layers.abandon(model)
    torch.testing.assert_close(
        padded, model.base_model(longer[None], use_cache=False).last_hidden_state[0], rtol=1e-4, atol=1e-4
    )
