"""One run in several processes: who computes which micro-batch, and how gradients, numbers and weights come together.

Launched by torchrun or `accelerate launch`, which tell every process its number and how many there are. Gradients are
summed, never averaged: micro-batches are shares of one step's loss, so their sum is what one process would compute.
The first process alone owns the run folder, and goes on alone once training is over.
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
    """How many processes the launcher says that it started."""
    return int(os.environ.get("WORLD_SIZE", 1))


def join() -> None:
    """Join the other processes that were launched, if any."""
    global _number, _count
    if launched() == 1:
        return
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group()  # gloo for what lies on the CPU, NCCL for what lies on a GPU
    _number, _count = torch.distributed.get_rank(), torch.distributed.get_world_size()


def leave() -> None:
    """End every process but the first, which from here on is the only one."""
    global _number, _count
    if _count == 1:
        return
    import torch

    torch.distributed.barrier()  # nobody goes while another still listens to it
    with suppress(RuntimeError):
        torch.distributed.destroy_process_group()
    if not is_first():
        raise SystemExit(0)
    _number, _count = 0, 1


def number() -> int:
    """Which process this is, from 0."""
    return _number


def count() -> int:
    """How many processes share this run."""
    return _count


def is_first() -> bool:
    """Whether this process owns the run folder."""
    return _number == 0


def gather(value: Any) -> list[Any]:
    """Every process's value, in their order."""
    if _count == 1:
        return [value]
    import torch

    values = [None] * _count
    torch.distributed.all_gather_object(values, value)
    return values


def check_alike(digest: str, when: str) -> None:
    """Raise RuntimeError unless every process says the same: gradients of networks that differ must not be summed."""
    if len(set(gather(digest))) > 1:
        raise RuntimeError(
            f"the processes hold different networks {when}; a random number was drawn that does not follow from the "
            "seed: report it, and train in one process until it is mended"
        )


def any_of(flag: bool) -> bool:
    """Whether it is so in any process: what all of them decide alike."""
    if _count == 1:
        return flag
    import torch

    found = torch.tensor(float(flag))
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return bool(found)


def add_up(numbers: dict[str, float]) -> dict[str, float]:
    """The sum over the processes of each number."""
    sums: dict[str, float] = {}
    for each in gather(numbers):
        for name, value in each.items():
            sums[name] = sums.get(name, 0.0) + value
    return sums


def fair(tokens: int, total: int) -> int:
    """A micro-batch's limit in tokens, lowered so that there is work for every process in `total` tokens."""
    return tokens if _count == 1 else min(tokens, max(1, math.ceil(total / _count)))


def deal(costs: Sequence[float], even: bool = False) -> list[tuple[int, float]]:
    """(index, weight) of this process's share of the work, dealt by cost so that all end at about the same time.

    `even`: every process gets as many, those that lack some a cheap one again with weight 0.
    """
    if _count == 1:
        return [(index, 1.0) for index in range(len(costs))]
    loads, hands = [0.0] * _count, [[] for _ in range(_count)]
    for index in sorted(range(len(costs)), key=lambda i: -costs[i]):
        least = loads.index(min(loads))
        hands[least].append(index)
        loads[least] += costs[index]
    mine = [(index, 1.0) for index in sorted(hands[_number])]
    if even and costs:
        cheapest = min(range(len(costs)), key=costs.__getitem__)
        mine += [(cheapest, 0.0)] * (max(map(len, hands)) - len(mine))
    return mine


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Give every process the sum of all processes' gradients; those of sharded weights are summed already."""
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
    """Leave each process a part of every weight of `model`, and so of its gradient and optimizer state (FSDP2).

    Layer after layer is gathered when it is computed. Every process must then run as many forward and backward passes
    as the others. Returns what makes `model` a plain network again, whole in the first process.
    """
    import torch
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    # All but the weights: what is left of the plain network until they come back.
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
    """All weights of a sharded network at hand in every process, each of which may now run it as often as it likes."""
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
    """Let compute(model, ...) count as one forward pass of `model`, for which a sharded network gathers its weights."""

    @wraps(compute)
    def through(model: Any, *args: Any, **kwargs: Any) -> Any:
        forward = getattr(model, "_as_forward", None)
        return compute(model, *args, **kwargs) if forward is None else forward(compute, *args, **kwargs)

    return through


def whole(state: Any) -> Any:
    """A state whose sharded tensors are gathered, on the CPU of the first process and nowhere else."""
    if _count == 1:
        return state
    from torch.distributed.tensor import DTensor
    from torch.utils._pytree import tree_map

    def gathered(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        full = value.detach().full_tensor()
        return full.cpu() if is_first() else None

    return tree_map(gathered, state)


def load_optimizer(optimizer: Any, state: dict[str, Any]) -> None:
    """Load a whole state, of which each process keeps its part where the weights are sharded."""
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
