"""The last feed-forward block on the tokens that are read: the same hidden states and gradients, and less work."""

import pytest
import torch

from tests.training.test_shared_prefix import RAGGED_FAMILIES, network
from training.last_layer import reading
from training.shared_prefix import can_be_ragged

IDS = torch.arange(3, 27).view(2, 12)
NEEDED = torch.arange(12) >= torch.tensor([[4], [9]])


def read(model, needed):
    """The needed hidden states, the gradients that reading them gives, and how many tokens the last block took."""
    can_be_ragged(model)  # which computes as well
    taken = []
    block = [module for name, module in model.named_modules() if name.endswith(".mlp")][-1]
    counting = block.register_forward_hook(lambda _, args, __: taken.append(args[0][..., 0].numel()))
    model.zero_grad()
    with reading(model, needed):
        hidden = model.base_model(IDS, use_cache=False).last_hidden_state[NEEDED]
    counting.remove()
    hidden.sin().sum().backward()
    return hidden.detach(), {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}, taken


@pytest.mark.parametrize("family", RAGGED_FAMILIES)
def test_what_is_not_read_is_not_computed_and_changes_nothing(family):
    model = network(family)
    everything = torch.ones_like(NEEDED)
    (ours, gradients, taken), (wanted, expected, whole) = read(model, NEEDED), read(model, everything)
    assert taken == [int(NEEDED.sum())] and whole == [24]
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6)
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=1e-6)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_in_training_mode_and_where_tokens_mix_all_is_computed():
    assert read(network("llama").train(), NEEDED)[2] == [24]
    mixing = network("llama")
    mixing.base_model.layers[0].mlp.register_forward_hook(lambda _, __, output: output.cumsum(1))
    assert read(mixing, NEEDED)[2] == [24]
    with pytest.raises(KeyError), reading(network("llama"), NEEDED):
        raise KeyError
