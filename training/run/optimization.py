"""The optimizer loop of base, SFT, reward model and DPO: accumulate, clip, step, report, save resumable state."""

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from training.contract.configs import Optimization, OptimizedConfig
from training.contract.events import Metrics, Progress, Started
from training.run import parallel
from training.run.optimizers import CompactAdam
from training.run.run_folder import RunFolder
from training.text.packing import MicroBatch

REPORTS = 200  # approximate number of metrics lines of a run

Measure = Callable[[int, Callable[[], dict[str, Tensor]]], dict[str, float]]


def device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(dtype: str) -> AbstractContextManager:
    """Return a context that runs forward passes in `dtype`; weights and optimizer stay in float32."""
    return torch.autocast(device().type, torch.bfloat16, enabled=dtype == "bfloat16")


def adam(
    config: Optimization, parameters: Iterable[Tensor], learning_rate: float | None = None
) -> torch.optim.Optimizer:
    """Return Adam with b1 = 0.9; weight decay, if any, applies only to matrices."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    rate, betas, eps = learning_rate or config.learning_rate, (0.9, config.adam_b2), config.adam_epsilon
    if any(weights.dtype == torch.bfloat16 for weights in parameters):
        return CompactAdam(groups, rate, betas, eps)
    return torch.optim.AdamW(groups, rate, betas, eps, fused=True)


def trained_state(model: Any, trained: Any = None) -> dict[str, Tensor]:
    """Return the state of `model` without weights frozen in `trained`: itself, or a network with the same names."""
    named = (trained or model).named_parameters(remove_duplicate=False)  # tied weights have two names
    frozen = {name for name, weights in named if not weights.requires_grad}
    return {name: weights for name, weights in model.state_dict().items() if name not in frozen}


def learning_rate(config: Optimization, step: int, total_steps: int) -> float:
    """Return the rate at step 0 .. total_steps - 1: linear warm-up from 1/10, cosine to `final_share` of the peak."""
    if step < config.warmup_steps:
        return config.learning_rate * (0.1 + 0.9 * step / config.warmup_steps)
    done = (step - config.warmup_steps) / max(1, total_steps - 1 - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.learning_rate * (config.final_share + (1 - config.final_share) * cosine)


def optimize(
    run_folder: RunFolder,
    config: OptimizedConfig,
    model: Any,
    total_steps: int,
    batches: Callable[[int], Sequence[MicroBatch]],
    group: str,
    counts: dict[str, int],
    optimizers: list[torch.optim.Optimizer] | None = None,
    measure: Measure | None = None,
) -> None:
    """Train `model` in place for `total_steps`, resuming from the run folder's state if there is one.

    `batches(step)` returns the step's micro-batches: each computes its share of the step's loss (the shares sum to it)
    and numbers to sum and report as `group/name`. They must depend on the step alone: a resumed run has to see the
    same ones, and so do the processes of a run, which divide them up. Only the first process returns.
    `counts` holds what was cut or left out beforehand, reported as warnings. `optimizers` is Adam unless given; the
    schedule scales the rate that each was made with. `measure(done, weights)` is called after each step with the number
    of steps done and a function that returns the trained weights; the numbers it returns are reported. It must not
    advance torch's random state.
    """
    state = run_folder.load_state()
    begun_from = weights_hash(model)  # the base of adapters, and DPO's reference
    parallel.check_alike(begun_from, "at the start")
    if state is not None:
        if state.get("begun_from", begun_from) != begun_from:
            network = getattr(config, "init_from", "seed, recipe")
            raise ValueError(f"{network}: the network changed since the run began; start a new run")
        model.load_state_dict(state["model"], strict=False)  # frozen weights are not in it
    sharded = getattr(config, "sharded", False) and parallel.process_count() > 1
    restore = parallel.shard(model) if sharded else None
    optimizers = optimizers or [adam(config, model.parameters())]
    peaks = [[parameters["lr"] for parameters in optimizer.param_groups] for optimizer in optimizers]
    start = 0
    if parallel.process_number():  # so that dropout differs between processes
        torch.manual_seed(config.seed + 1_000_003 * parallel.process_number())
    if state is not None:
        start = state["step"]
        for optimizer, saved_state in zip(optimizers, state["optimizers"], strict=True):
            parallel.load_optimizer(optimizer, saved_state)
        if parallel.process_number() < len(state["random"]):
            set_random_state(state["random"][parallel.process_number()])
        del state
    run_folder.report(Started(verb=config.verb, total_steps=total_steps, resumed_from_step=start))
    run_folder.warn_counts(counts)

    def weights() -> dict[str, Tensor]:
        return parallel.whole(trained_state(model))

    def save(step: int) -> None:
        run_folder.save_state(
            {
                "step": step,
                "begun_from": begun_from,
                "model": weights(),
                "optimizers": [parallel.whole(optimizer.state_dict()) for optimizer in optimizers],
                "random": parallel.gather(random_state()),
            }
        )

    model.train()
    saved = time.monotonic()
    every = max(1, total_steps // REPORTS)
    sums: dict[str, float] = {}
    steps = 0
    for step in range(start, total_steps):
        rate = learning_rate(config, step, total_steps)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            for parameters, peak in zip(optimizer.param_groups, rates, strict=True):
                parameters["lr"] = peak * rate / config.learning_rate
        model.zero_grad(set_to_none=True)
        of_step = batches(step)
        for index, weight in parallel.assign([batch.tokens for batch in of_step], even=sharded):
            loss, numbers = of_step[index].compute()
            if loss.requires_grad:
                (weight * loss).backward()
            for name, value in {"loss": loss.item(), **numbers}.items():
                sums[name] = sums.get(name, 0.0) + weight * value
        parallel.sum_gradients(model.parameters())
        norm = clip_gradients(model.parameters(), config.max_gradient_norm)
        if not math.isfinite(norm):
            if step == 0:  # no update was made yet, so no learning rate is to blame
                raise ValueError(f"step 0: {not_finite(parallel.add_up(sums)['loss'])}")
            raise ValueError(f"step {step}: the gradient is not finite; lower learning_rate = {config.learning_rate}")
        for optimizer in optimizers:
            optimizer.step()
        sums["gradient_norm"] = sums.get("gradient_norm", 0.0) + norm / parallel.process_count()
        steps += 1
        done = step + 1
        measured = measure(done, weights) if measure else {}
        if measured or done % every == 0 or done == total_steps:
            values = {f"{group}/{name}": value / steps for name, value in parallel.add_up(sums).items()}
            values |= {f"{group}/{name}": value for name, value in {**measured, "learning_rate": rate}.items()}
            run_folder.report(Metrics(step=done, values=values))
            run_folder.report(Progress(step=done, total_steps=total_steps, note=f"loss {values[f'{group}/loss']:.3f}"))
            sums, steps = {}, 0
        run_folder.checkpoint_stop(partial(save, done))
        if parallel.any_of(time.monotonic() - saved >= config.save_every_seconds) or done == total_steps:
            save(done)
            saved = time.monotonic()
    if restore is not None:
        restore()
    elif parallel.process_count() > 1:
        parallel.check_alike(weights_hash(model), "at the end")
    parallel.leave()
    model.eval()


def weights_hash(model: Any) -> str:
    """Return the SHA-256 over a network's weights, in order."""
    hashed = hashlib.sha256()
    for name, weight in model.named_parameters():
        hashed.update(name.encode())
        hashed.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return hashed.hexdigest()


def not_finite(loss: float) -> str:
    """Return the error message for a non-finite gradient before any update, given that the weights are finite."""
    what = "the network's gradient" if math.isfinite(loss) else "the network's own output"
    return (
        f"{what} is not finite (loss {loss}) before any update, so a lower learning rate will not help: "
        "set dtype = float32, or take an earlier checkpoint of that network"
    )


def clip_gradients(parameters: Iterable[Tensor], largest: float | None) -> float:
    """Scale all gradients down to a joint norm of at most `largest`; return the norm they had before."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, largest or math.inf)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def random_state() -> dict[str, Any]:
    """Return torch's random state, to resume dropout and sampling."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: dict[str, Any]) -> None:
    """Restore torch's random state from a value of `random_state`."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
