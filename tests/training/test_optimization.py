"""Muon against torch's own, and the orthogonality it promises."""

import copy

import pytest
import torch

from training.optimization import Muon, orthogonal


@pytest.mark.parametrize("shape", [(24, 24), (48, 24), (24, 48)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(5, *shape)
    before, after = torch.linalg.svdvals(matrices), torch.linalg.svdvals(orthogonal(matrices))
    large = before > before.max() / 20  # five steps do not lift the very smallest
    assert large.float().mean() > 0.9
    assert after[large].min() > 0.6 and after.max() < 1.3


def test_muon_steps_as_torchs_own():
    torch.manual_seed(0)
    ours = torch.nn.ModuleList([torch.nn.Linear(24, 24, bias=False), torch.nn.Linear(24, 48, bias=False)])
    ours.append(torch.nn.Linear(48, 24, bias=False))
    theirs = copy.deepcopy(ours)
    optimizers = [
        Muon(ours.parameters(), lr=0.02, weight_decay=0.1),
        torch.optim.Muon(theirs.parameters(), lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original"),
    ]
    start = [weight.clone() for weight in ours.parameters()]
    for step in range(4):
        torch.manual_seed(step)
        x = torch.randn(16, 24)
        for network, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (network[0](x).square().mean() + network[2](network[1](x)).pow(2).mean()).backward()
            optimizer.step()
    for weight, other, before in zip(ours.parameters(), theirs.parameters(), start, strict=True):
        # theirs is computed in bfloat16
        assert float((weight - other).norm() / (weight - before).norm()) < 0.1


def test_a_resumed_muon_goes_on_where_it_was():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(8, 8)) for _ in range(2)]
    weights[1].data.copy_(weights[0].data)
    first, second = Muon([weights[0]], lr=0.02), Muon([weights[1]], lr=0.02)

    def step(optimizer, weight, seed):
        weight.grad = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.step()

    step(first, weights[0], 1)
    step(second, weights[1], 1)
    resumed = Muon([weights[1]], lr=0.5)
    resumed.load_state_dict(copy.deepcopy(second.state_dict()))
    step(first, weights[0], 2)
    step(resumed, weights[1], 2)
    assert torch.equal(*weights)
