"""One run in several processes: assign micro-batches, combine gradients, numbers and weights.

Launched by torchrun or `accelerate launch`, which give every process its number and their count. Gradients are summed,
never averaged: micro-batches are shares of one step's loss, so their sum is what one process would compute. Only the
first process owns the run folder, and it continues alone once training is over.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import wraps
from types import MethodType
from typing import Any

_BUCKET_WEIGHTS = 2**25  # gradients summed in one message: 128 MiB in float32
_number, _count = 0, 1


def launched() -> int:
    """Return how many processes the launcher says it started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def join() -> None:
    """Join the other launched processes, if any."""
    global _number, _count
    if launched() == 1:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group()  # gloo for CPU tensors, NCCL for GPU tensors
    _number, _count = torch.distributed.get_rank(), torch.distributed.get_world_size()


def leave() -> None:
    """End every process but the first, which continues alone."""
    global _number, _count
    if _count == 1:
        return
    import torch

    torch.distributed.barrier()  # no process exits while another still listens to it
    with suppress(RuntimeError):
        torch.distributed.destroy_process_group()
    if not is_first():
        raise SystemExit(0)
    _number, _count = 0, 1


def process_number() -> int:
    """Return this process's number, from 0."""
    return _number


def process_count() -> int:
    """Return how many processes share this run."""
    return _count


def is_first() -> bool:
    """Return whether this is the first process, which owns the run folder."""
    return _number == 0


def gather(value: Any) -> list[Any]:
    """Return every process's value, in process order."""
    if _count == 1:
        return [value]
    import torch

    values = [None] * _count
    torch.distributed.all_gather_object(values, value)
    return values


def check_alike(digest: str, when: str) -> None:
    """Raise RuntimeError unless all digests are equal: gradients of different networks must not be summed."""
    if len(set(gather(digest))) > 1:
        raise RuntimeError(
            f"the processes hold different networks {when}; a random number was drawn that does not follow from the "
            "seed: report it, and train in one process until it is fixed"
        )


def any_of(flag: bool) -> bool:
    """Return whether `flag` is true in any process, so that all of them decide alike."""
    if _count == 1:
        return flag
    import torch

    found = torch.tensor(float(flag))
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return bool(found)


def add_up(numbers: dict[str, float]) -> dict[str, float]:
    """Sum each number over the processes."""
    sums: dict[str, float] = {}
    for each in gather(numbers):
        for name, value in each.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def fair_limit(tokens: int, total: int) -> int:
    """Lower a micro-batch's token limit so that `total` tokens give every process work."""
    return tokens if _count == 1 else min(tokens, max(1, math.ceil(total / _count)))


def assign(costs: Sequence[float], even: bool = False) -> list[tuple[int, float]]:
    """Assign work by cost so that all processes finish at about the same time; return our share as (index, weight).

    `even`: every process gets the same number; those that lack some repeat a cheap one with weight 0.
    """
    if _count == 1:
        return [(index, 1.0) for index in range(len(costs))]
    loads = [0.0] * _count
    shares: list[list[int]] = [[] for _ in range(_count)]
    for index in sorted(range(len(costs)), key=lambda i: -costs[i]):
        least = loads.index(min(loads))
        shares[least].append(index)
        loads[least] += costs[index]
    mine = [(index, 1.0) for index in sorted(shares[_number])]
    if even and costs:
        cheapest = min(range(len(costs)), key=costs.__getitem__)
        mine += [(cheapest, 0.0)] * (max(map(len, shares)) - len(mine))
    return mine


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Sum the gradients over all processes, in place; those of sharded weights are summed already."""
    if _count == 1:
        return
    import torch
    from torch.distributed.tensor import DTensor

    bucket: list[torch.Tensor] = []

    def send() -> None:
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        torch.distributed.all_reduce(flat)
        for gradient, part in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))
        bucket.clear()

    for weights in parameters:
        if not weights.requires_grad or isinstance(weights, DTensor):
            continue
        if weights.grad is None:  # this process had no share of the work
            weights.grad = torch.zeros_like(weights)
        if bucket and (bucket[0].dtype != weights.grad.dtype or sum(map(torch.Tensor.numel, bucket)) > _BUCKET_WEIGHTS):
            send()
        bucket.append(weights.grad)
    if bucket:
        send()


def shard(model: Any) -> Callable[[], None]:
    """Shard every weight of `model`, and so its gradient and optimizer state, over the processes (FSDP2).

    Each layer is gathered when it is computed, so every process must run the same number of forward and backward
    passes. Return a function that makes `model` a plain network again, whole in the first process.
    """
    import torch
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    # The plain network without its weights, until they are restored.
    weightless = {id(p): torch.nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    plain = deepcopy(model, weightless)
    repeated = {name for part in model.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    for part in list(model.modules()):
        if type(part).__name__ in repeated:
            fully_shard(part, reshard_after_forward=True)
    fully_shard(model, reshard_after_forward=True)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    model._as_forward = MethodType(lambda self, compute, *args, **kwargs: compute(self, *args, **kwargs), model)
    register_fsdp_forward_method(model, "_as_forward")

    def restore() -> None:
        weights = whole(model.state_dict())
        if is_first():
            plain.load_state_dict(weights, assign=True)
            if hasattr(plain, "tie_weights"):
                plain.tie_weights()
            plain.to(next(model.parameters()).device)
        model.__class__, model.__dict__ = plain.__class__, plain.__dict__

    return restore


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """Keep all weights of a sharded network gathered in every process, which may then run it any number of times."""
    if not hasattr(model, "_as_forward"):
        yield
        return
    from torch.distributed.fsdp import FSDPModule

    parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
    model.set_reshard_after_forward(False)
    try:
        for part in parts:
            part.unshard()
        yield
    finally:
        for part in parts:
            part.reshard()
        model.set_reshard_after_forward(True)


def as_forward(compute: Callable) -> Callable:
    """Make compute(model, ...) count as one forward pass, for which a sharded `model` gathers its weights."""

    @wraps(compute)
    def through(model: Any, *args: Any, **kwargs: Any) -> Any:
        forward = getattr(model, "_as_forward", None)
        return compute(model, *args, **kwargs) if forward is None else forward(compute, *args, **kwargs)

    return through


def whole(state: Any) -> Any:
    """Gather the sharded tensors of a state on the CPU of the first process; they are None in the others."""
    if _count == 1:
        return state
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map

    def gathered(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        full = value.full_tensor().detach()
        return full.cpu() if is_first() else None

    return tree_map(gathered, state)


def load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Load a whole state; if the weights are sharded, each process keeps its part."""
    weights = [weights for group in optimizer.param_groups for weights in group["params"]]
    parts = {
        index: {name: _part(value, weights[index]) for name, value in moments.items()}
        for index, moments in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})


def _part(value: Any, weights: Any) -> Any:
    if _count == 1:
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weights, DTensor) or getattr(value, "shape", None) != weights.shape:
        return value
    return distribute_tensor(value, weights.device_mesh, weights.placements, src_data_rank=None)
