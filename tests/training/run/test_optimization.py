"""Muon and Adam against torch's own, and what they promise; memory savings and what they change."""

import copy

import pytest
import torch

from training.contract.recipes import make_config
from training.reward.model import Pair, k_wise_loss, new_reward_model, score_groups
from training.run.optimization import precision
from training.run.optimizers import CompactAdam, Muon, orthogonal
from training.run.trainable import prepared
from training.text.packing import cross_entropy
from training.text.policy import forbidden_token_ids, load_policy


@pytest.mark.parametrize("shape", [(24, 24), (48, 24), (24, 48)])
def test_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(5, *shape)
    before, after = torch.linalg.svdvals(matrices), torch.linalg.svdvals(orthogonal(matrices))
    large = before > before.max() / 20  # five steps do not raise the very smallest
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


@pytest.mark.parametrize(
    "optimizer", [Muon, lambda weights, lr: CompactAdam([{"params": weights}], lr, (0.9, 0.95), 1e-8)]
)
def test_a_step_takes_torchs_closure_which_computes_the_gradient(optimizer):
    weights = torch.nn.Parameter(torch.ones(4, 4))
    stepping, before = optimizer([weights], lr=0.1), weights.detach().clone()

    def loss():
        found = weights.square().sum()
        found.backward()
        return found.item()

    assert stepping.step(loss) == 16.0
    assert not torch.equal(weights, before)


def test_adam_in_bfloat16_follows_adam_in_float32_where_rounding_alone_would_stand_still():
    """Steps of 1e-5 on weights about 1, as in a reward model's training, one gradient after the other."""
    torch.manual_seed(0)
    start = torch.randn(64, 64).bfloat16().float()
    dtypes = (torch.bfloat16, torch.float32, torch.bfloat16)
    plain, exact, compact = (torch.nn.Parameter(start.to(dtype, copy=True)) for dtype in dtypes)
    values = {"lr": 1e-5, "betas": (0.9, 0.95), "eps": 1e-8}
    optimizers = [
        torch.optim.AdamW([plain], weight_decay=0.0, **values),
        torch.optim.AdamW([exact], weight_decay=0.0, **values),
        CompactAdam([{"params": [compact]}], **values),
    ]
    drift = torch.randn(64, 64)
    for _ in range(200):
        gradient = drift + torch.randn(64, 64)
        for weights, optimizer in zip((plain, exact, compact), optimizers, strict=True):
            weights.grad = gradient.to(weights.dtype)
            optimizer.step()
    way = exact.detach() - start
    assert float((compact + optimizers[2].state[compact]["remainder"].float() - start - way).norm() / way.norm()) < 0.05
    assert float((plain.float() - start - way).norm() / way.norm()) > 0.5
    held = sum(tensor.nbytes for tensor in optimizers[2].state[compact].values() if isinstance(tensor, torch.Tensor))
    assert held + compact.nbytes + compact.grad.nbytes == 10 * compact.numel()


def gradients(folder, kind: str, **memory) -> torch.Tensor:
    """Return all gradients of one loss on a batch, float32."""
    config = make_config("train_reward_model", {"data": folder, "init_from": folder, **memory})
    torch.manual_seed(0)
    if kind == "reward model":
        model, tokenizer = new_reward_model(folder)
    else:
        model, tokenizer = load_policy(folder)
    model, _ = prepared(model, config)
    sequences = [[5, 6, 7, 8, 9, 10, 11], [5, 6, 7, 12, 13], [14, 15, 16, 17, 18, 19]]
    with precision(config.dtype):
        if kind == "reward model":
            scores = score_groups(model, [([5, 6, 7], [[8, 9, 10, 11], [12, 13]]), ([14, 15], [[16], [17, 18, 19]])], 0)
            loss = k_wise_loss(scores, [[Pair(0, 1)], [Pair(2, 3)]], 2)
        else:
            masks = [[True] * len(sequence) for sequence in sequences]
            forbidden = forbidden_token_ids(model, tokenizer)
            batches = cross_entropy(model, [[0], [1, 2]], sequences, masks, forbidden, 0, 100)
            loss = sum(batch.compute() for batch in batches)
    loss.backward()
    return torch.cat([weights.grad.flatten() for weights in model.parameters() if weights.grad is not None])


@pytest.mark.parametrize("kind", ["reward model", "policy"])
def test_activations_computed_twice_change_no_gradient_and_bfloat16_hardly(networks, kind):
    for name in ("llama", "gpt2"):
        exact = gradients(networks[name], kind)
        again = gradients(networks[name], kind, gradient_checkpointing=True)
        assert torch.equal(again, exact), name
        rounded = gradients(networks[name], kind, dtype="bfloat16")
        assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.1, name
