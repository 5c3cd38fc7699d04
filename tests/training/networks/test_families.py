"""One family of each kind: its numbers are those of plain passes over single sequences."""

import pytest
import torch
import torch.nn.functional as F

from tests.training.networks.families import Tokenizer, network, tried
from training.fast.shared_prefix import can_be_ragged, rounding
from training.networks.forms import NotCausal, form_of, forms
from training.text.policy import fit_to_tokenizer
from training.text.sampling_trial import writes_by

# What packing, padding or a cache would get wrong in each, and how it is computed instead.
KINDS = {
    "llama": ("side by side", "own"),
    "cohere": ("side by side", "own"),  # a multiplier behind its head
    "internlm3": ("side by side", "own"),  # a class of the config of another family
    "olmoe": ("side by side", "own"),  # experts, and a score of ours
    "gemma2": ("packed", "own"),  # windows, and a bound on its logits
    "gpt_oss": ("padded", "own"),  # attention with sinks
    "mpt": ("padded", "own"),  # positions are a bias of attention
    "bloom": ("padded", "own"),
    "mamba": ("padded", "transformers"),  # recurrent: its state is not keys and values
    "falcon_h1": ("padded", "transformers"),  # attention and a recurrence side by side, multipliers everywhere
    "lfm2": ("padded", "transformers"),  # convolutions
    "recurrent_gemma": ("padded", "forward"),
    "opt": ("side by side", "own"),  # positions from the mask, no module for a whole block
    "falcon": ("padded", "own"),  # adds its blocks in place
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_that_of_plain_passes(kind):
    row = tried(kind)
    assert row.verdict in ("right", "slower"), row.said


@pytest.mark.parametrize("kind", KINDS)
def test_the_fastest_form_that_is_right_is_used(kind):
    model = network(kind)
    assert (form_of(model), writes_by(model)) == KINDS[kind]


@pytest.mark.parametrize("kind", ["bert", "xlnet"])
def test_a_network_whose_tokens_see_those_behind_them_is_refused(kind):
    changes = {"is_decoder": False} if kind == "bert" else {}
    with pytest.raises(NotCausal, match="no causal language model"):
        fit_to_tokenizer(network(kind, **changes), Tokenizer())


def test_a_text_beyond_the_length_at_which_positions_change_is_computed_alone():
    rope = {
        "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [3.0] * 4, "rope_theta": 10000.0,
        "original_max_position_embeddings": 16,
    }  # fmt: skip
    row = tried("phi3", rope_parameters=rope, original_max_position_embeddings=16)
    assert row.verdict in ("right", "slower"), row.said


def test_trying_a_network_changes_nothing_and_draws_no_random_number():
    model = network("llama").train()
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    forms(model)
    writes_by(model)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    for name, weights in model.state_dict().items():
        assert torch.equal(weights, before[name])


def test_a_leak_of_a_thousandth_is_found():
    """A form may differ only by rounding: a layer that adds a little of its neighbour's state is not near."""
    model = network("llama")
    layer = model.model.layers[0]

    def leak(_, __, output):
        return output + 1e-3 * F.pad(output[:, :-1], (0, 0, 1, 0))

    layer.register_forward_hook(leak)
    assert not forms(model).packed and not can_be_ragged(model) and forms(model).padded


def test_a_network_that_amplifies_rounding_is_computed_in_the_fastest_form_all_the_same():
    """In trained networks one token's state is a thousand times as long as the rest; its rounding is a thousandth."""
    model = network("llama")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(200)
            layer.self_attn.q_proj.weight.mul_(6)
            layer.self_attn.k_proj.weight.mul_(6)
    assert rounding(model) > 1e-4
    assert can_be_ragged(model) and forms(model).packed and forms(model).padded
