"""Optimizers that torch lacks: Muon in float32, and an Adam for bfloat16 weights."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class _Optimizer(torch.optim.Optimizer):
    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every weight that has a gradient; first call `closure`, if given, and return its loss."""
        loss = None if closure is None else closure()
        self.update()
        return loss

    def update(self) -> None:
        """Update every weight that has a gradient."""
        raise NotImplementedError


class Muon(_Optimizer):
    """Momentum whose step is made nearly orthogonal, so that no direction of a matrix is left behind [Jordan 2024].

    For the matrices inside a network, not its embeddings. Computes in float32, matrices of one shape together: on a CPU
    that is a tenth of a small network's step. (torch.optim.Muon takes them one by one in bfloat16, which is slow on
    CPUs without it.)
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def update(self) -> None:
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append((matrix, matrix.grad))
            for (rows, columns), matrices in by_shape.items():
                updates = []
                for matrix, gradient in matrices:
                    mean = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                    mean.lerp_(gradient, 1 - group["momentum"])
                    updates.append(gradient.lerp(mean, group["momentum"]))  # Nesterov look-ahead
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for (matrix, _), update in zip(matrices, orthogonal(torch.stack(updates)), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices [N, R, C] near 1 by five Newton-Schulz steps [Jordan 2024]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class CompactAdam(_Optimizer):
    """AdamW for bfloat16 weights: moments are bfloat16 too, and each weight's rounding error is kept as a remainder.

    Takes ten bytes per weight with its gradient, where float32 takes sixteen. bfloat16 rounds to one part in 256, so
    each step at a learning rate of 1e-5 would be lost; a weight and its remainder together round to one in 65,000.
    Moments move by (1 - b) of the way in each step, far enough for bfloat16 with b1 = 0.9 and b2 = 0.95.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def update(self) -> None:
        """Update every weight that has a gradient, computing in float32."""
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                state = self.state[weights]
                if not state:
                    state |= {"step": 0} | {key: torch.zeros_like(weights) for key in ("mean", "square", "remainder")}
                state["step"] += 1
                gradient = weights.grad.float()
                mean = state["mean"].float().lerp_(gradient, 1 - b1)
                square = state["square"].float().mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
                state["mean"].copy_(mean)
                state["square"].copy_(square)
                spread = square.div_(1 - b2 ** state["step"]).sqrt_().add_(group["eps"])
                exact = weights.float().add_(state["remainder"]).mul_(1 - group["lr"] * group["weight_decay"])
                exact.addcdiv_(mean, spread, value=-group["lr"] / (1 - b1 ** state["step"]))
                weights.copy_(exact)
                state["remainder"].copy_(exact.sub_(weights))
