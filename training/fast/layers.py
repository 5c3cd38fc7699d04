"""Llama-like decoder layers (Llama, Mistral, Qwen 2 and 3) in fewer passes over memory, the last computed in part.

transformers' modules keep their weights, hooks and adapters; only some computations are replaced. Norms and rotary
embeddings get a hand-written backward pass, which on a CPU takes a third of the time. The last layer skips tokens whose
last hidden states are not read: the other tokens need only their keys and values. That saves a fifth of the work of
4 layers, and a fortieth of 32.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}  # config.model_type; in others, parts of the same names differ


def adopt(model: Any, attend: Callable[..., tuple[Tensor, None]]) -> bool:
    """Compute the layers of `model` by this module's functions if its family is supported; return whether it is.

    `attend` is an attention function with transformers' signature. `abandon` undoes the change.
    """
    if model.config.model_type not in FAMILIES:
        return False
    for module in model.base_model.modules():
        if hasattr(module, "stock"):  # a copy of an adopted module
            continue
        kind = type(module).__name__
        for ending, forward in (("RMSNorm", _norm), ("Attention", _attention), ("DecoderLayer", _layer)):
            if kind.endswith(ending):
                module.__class__ = _computing(module.__class__, forward, attend)
    return True


def abandon(model: Any) -> None:
    """Restore transformers' own computation in all modules."""
    for module in model.modules():
        if hasattr(module, "stock"):
            module.__class__ = module.stock


@cache
def _computing(stock: type, forward: Callable[..., Any], attend: Callable[..., tuple[Tensor, None]]) -> type:
    """Return a subclass of `stock`, of the same name, with its forward replaced; copies of a module keep this class."""
    own = {"forward": forward, "attend": staticmethod(attend), "stock": stock, "__module__": stock.__module__}
    return type(stock.__name__, (stock,), own)


def _layer(layer: Any, hidden_states: Tensor, **kwargs: Any) -> Tensor:
    """Compute a layer's output [B, S, D]; the last layer's is [1, n, D] if a layout says which n tokens are read."""
    last = getattr(kwargs.get("layout"), "of_last_layer", None)
    if last is not None and layer.self_attn.layer_idx == layer.self_attn.config.num_hidden_layers - 1:
        kwargs["layout"] = last
    attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
    if attended.shape[1] != hidden_states.shape[1]:
        hidden_states = hidden_states[:, kwargs["layout"].attending]
    hidden_states = hidden_states + attended
    return hidden_states + layer.mlp(layer.post_attention_layernorm(hidden_states))


def _attention(
    attention: Any,
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    past_key_values: Any = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute what attention adds [B, S, D]; [1, n, D] if only n tokens attend in the layout."""
    width, (cos, sin) = attention.head_dim, position_embeddings
    turned = _Rotary.apply if torch.is_grad_enabled() else _turned
    keys = attention.k_proj(hidden_states).unflatten(-1, (-1, width))
    values = attention.v_proj(hidden_states).unflatten(-1, (-1, width)).transpose(1, 2)
    if hasattr(attention, "k_norm"):
        keys = attention.k_norm(keys)
    keys = turned(keys, cos, sin).transpose(1, 2)
    attending = getattr(kwargs.get("layout"), "attending", None)
    if attending is not None:
        hidden_states, cos, sin = (tensor[:, attending] for tensor in (hidden_states, cos, sin))
    queries = attention.q_proj(hidden_states).unflatten(-1, (-1, width))
    if hasattr(attention, "q_norm"):
        queries = attention.q_norm(queries)
    queries = turned(queries, cos, sin).transpose(1, 2)
    if past_key_values is not None:
        keys, values = past_key_values.update(keys, values, attention.layer_idx)
    dropout = attention.attention_dropout if attention.training else 0.0
    window = getattr(attention, "sliding_window", getattr(attention.config, "sliding_window", None))
    found, _ = attention.attend(
        attention, queries, keys, values, attention_mask,
        dropout=dropout, scaling=attention.scaling, sliding_window=window, **kwargs,
    )  # fmt: skip
    return attention.o_proj(found.flatten(2)), None


def _norm(norm: Any, hidden_states: Tensor) -> Tensor:
    """Apply root mean square norm over the last dimension [Zhang & Sennrich 2019]."""
    if hidden_states.dtype != torch.float32 or hidden_states.device.type != "cpu":
        return norm.stock.forward(norm, hidden_states)
    if torch.is_grad_enabled():
        return _Norm.apply(hidden_states, norm.weight, norm.variance_epsilon)
    return (hidden_states * _scale(hidden_states, norm.variance_epsilon)).mul_(norm.weight)


class _Norm(torch.autograd.Function):
    """y = w x r with r = (mean of x^2 + epsilon)^-1/2, so dx = r w g - x r^3 (w g . x) / D and dw = sum of g x r."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        scale = _scale(x, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        product = (gradient * x).flatten(0, -2)
        of_weight = scale.view(1, -1).mm(product)[0] if ctx.needs_input_grad[1] else None
        along = product.mv(weight).view(scale.shape).mul_(scale).mul_(scale).mul_(scale)
        of_x = (gradient * weight).mul_(scale).addcmul_(x, along, value=-1 / x.shape[-1])
        return of_x, of_weight, None


def _scale(x: Tensor, epsilon: float) -> Tensor:
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


class _Rotary(torch.autograd.Function):
    """Rotary embedding by `_turned`; its gradient is rotated back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, sin, -1), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor, sign: int = 1) -> Tensor:
    """Rotate x [B, S, H, C] by position [Su 2021]: its halves (a, b) become (a cos - b sin, b cos + a sin).

    The tables [B, S, C] hold each angle twice, once for each half.
    """
    found = x * cos[:, :, None]
    (a, b), (sin, _), (found_a, found_b) = (table.chunk(2, -1) for table in (x, sin[:, :, None], found))
    found_a.addcmul_(b, sin, value=-sign)
    found_b.addcmul_(a, sin, value=sign)
    return found
