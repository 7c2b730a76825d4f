"""A decoder layer of a packed row as two nodes of the graph, before its attention and after it, on CPU.

Module by module a layer is dozens of nodes and hundreds of calls from Python into torch. Between small products these
cost as much as the products, and two models that train side by side wait for each other at every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import attend
from ..cpu_linear import PackedLinear, eligible, weight_gradients
from ..last_layer import is_watched, rows_read
from ..layers import layers_of
from .layer_forward import feed, only, project, spread
from .norm import FusedNorm, norm_backward
from .rotary import turned
from .rows import runs_fused
from .swiglu import FusedFeedForward, swiglu_backward

FAMILIES = {"llama", "mistral", "qwen2"}
"""Model types whose layers are what is written here."""
PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
PRODUCTS = ("gate_proj", "up_proj", "down_proj")


def fuse_layers(model: Any) -> None:  # a transformers decoder, whose parts are fused already
    """Every layer of norm, attention with rotation, norm and SwiGLU, of families that add nothing to it."""
    layers = layers_of(model)
    if layers is None or model.config.model_type not in FAMILIES:
        return
    layer: Any
    for layer in layers:
        if dict(layer.named_children()).keys() == PARTS:
            kind: Any = type(layer)
            layer.__class__ = _fused(kind)
            layer.is_last = layer is layers[-1]


@cache
def _fused(kind: type[Any]) -> type[Any]:
    class FusedLayer(kind):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor, *arguments: Any, **options: Any) -> Tensor:
            if "packed_pairs" in options and not arguments and _runs(self, hidden_states):
                return _layer(self, hidden_states, **options)
            result: Tensor = super().forward(hidden_states, *arguments, **options)
            return result

    FusedLayer.__name__ = FusedLayer.__qualname__ = f"Fused{kind.__name__}"
    return FusedLayer


def _runs(layer: Any, x: Tensor) -> bool:
    """Whether all parts are still what was fused: adapters replace some, shards have tensors of their own."""
    attention, feed_forward = layer.self_attn, layer.mlp
    return (
        runs_fused(x)
        and not any(is_watched(part) for part in layer.modules() if part is not layer)
        and eligible(x, attention.q_proj.weight)
        and len(attention._modules) == len(PROJECTIONS)
        and all(type(getattr(attention, name, None)) is PackedLinear for name in PROJECTIONS)
        and isinstance(feed_forward, FusedFeedForward)
        and all(type(getattr(feed_forward, name)) is PackedLinear for name in PRODUCTS)
        and isinstance(layer.input_layernorm, FusedNorm)
        and isinstance(layer.post_attention_layernorm, FusedNorm)
    )


def window_of(attention: Any) -> int | None:
    """How many tokens an attention sees.

    Mistral's is that of all layers, Qwen2's the layer's own; Llama has none, whatever its configuration says.
    """
    whose = attention.config if attention.config.model_type == "mistral" else attention
    window: int | None = getattr(whose, "sliding_window", None)
    return window


def _layer(
    layer: Any,
    x: Tensor,  # [1, T, d]
    *,
    position_embeddings: tuple[Tensor, Tensor],  # [1, T, D] each
    attention_mask: None = None,
    **options: Any,
) -> Tensor:  # [1, T, d]
    attention, feed_forward = layer.self_attn, layer.mlp
    first, second = layer.input_layernorm, layer.post_attention_layernorm
    cos, sin = position_embeddings
    read = rows_read() if layer.is_last else None
    projections = [getattr(attention, name) for name in PROJECTIONS]
    products = [getattr(feed_forward, name) for name in PRODUCTS]
    rows = _before(x, cos, sin, read, first.variance_epsilon, first.weight, *_weights(projections[:3]))
    query, key, value = (y.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for y in rows)
    attended, _ = attend(
        attention, query, key, value, None,
        scaling=attention.scaling, sliding_window=window_of(attention),
        dropout=attention.attention_dropout if attention.training else 0.0, **options,
    )  # fmt: skip
    weights = (*_weights(projections[3:]), second.weight, *_weights(products))
    return _after(x, attended.flatten(2), read, second.variance_epsilon, *weights)


def _weights(layers: Sequence[nn.Linear]) -> list[Tensor | None]:
    return [tensor for layer in layers for tensor in (layer.weight, layer.bias)]


def _before(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:  # [1, T, H * D], [1, T, G * D], [1, T, G * D]
    """Queries, keys and values of every token, turned to its position."""
    if not torch.is_grad_enabled():
        return project(x, *arguments)[:3]
    result: tuple[Tensor, ...] = _Before.apply(x, *arguments)  # type: ignore[no-untyped-call]
    return result


class _Before(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        cos, sin, ctx.read, _, norm, *projections = arguments
        *result, states, ctx.scales = project(x, *arguments)
        ctx.save_for_backward(x, states, cos, sin, norm, *projections[::2])
        return tuple(result)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, states, cos, sin, norm, *weights = ctx.saved_tensors
        of_query, of_key, of_value = grads
        of_query = only(turned(of_query.contiguous(), cos, sin, -1.0), ctx.read)
        of_key, of_value = turned(of_key.contiguous(), cos, sin, -1.0), of_value.contiguous()
        of_states = spread(of_query @ weights[0], ctx.read, x.shape[1])
        _rows(of_states).addmm_(_rows(of_key), weights[1]).addmm_(_rows(of_value), weights[2])
        of_x, of_norm = norm_backward(of_states, x, norm, ctx.scales)
        of_weights = _weight_gradients(ctx, 6, (of_query, of_key, of_value), (only(states, ctx.read), states, states))
        return of_x, None, None, None, None, of_norm, *of_weights


def _after(x: Tensor, attended: Tensor, read: Tensor | None, *arguments: Any) -> Tensor:  # [1, T, d]
    """The output projection and the feed-forward part, each added to what went in."""
    if not torch.is_grad_enabled():
        return _replaced(x, read, feed(only(x, read), only(attended, read), *arguments).result)
    result: Tensor = _After.apply(x, attended, read, *arguments)  # type: ignore[no-untyped-call]
    return result


class _After(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, attended: Tensor, read: Tensor | None, *arguments: Any) -> Tensor:
        _, o_weight, _, norm, *products = arguments
        attended = only(attended, read)
        result, *between, ctx.scales = feed(only(x, read), attended, *arguments)
        ctx.read = read
        ctx.save_for_backward(attended, *between, o_weight, norm, *products[::2])
        return _replaced(x, read, result)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        attended, middle, states, gate, up, hidden, o_weight, norm, *weights = ctx.saved_tensors
        of_y = only(grad, ctx.read).contiguous()
        of_gate, of_up = swiglu_backward(of_y @ weights[2], gate, up)
        of_states = of_gate @ weights[0]
        _rows(of_states).addmm_(_rows(of_up), weights[1])
        of_middle, of_norm = norm_backward(of_states, middle, norm, ctx.scales)
        of_middle += of_y
        of_products = _weight_gradients(ctx, 7, (of_gate, of_up, of_y), (states, states, hidden))
        return (
            _replaced(grad, ctx.read, of_middle),
            spread(of_middle @ o_weight, ctx.read, grad.shape[1]),
            None, None,
            *_weight_gradients(ctx, 4, (of_middle,), (attended,)),
            of_norm,
            *of_products,
        )  # fmt: skip


def _weight_gradients(ctx: Any, first: int, grads: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """Of weights and biases, which are a node's inputs from number `first` on."""
    needs = ctx.needs_input_grad[first:]
    return [
        found
        for number, (grad, x) in enumerate(zip(grads, inputs, strict=True))
        for found in weight_gradients(grad, x, needs[2 * number], needs[2 * number + 1])
    ]


def _replaced(x: Tensor, read: Tensor | None, rows: Tensor) -> Tensor:  # [1, T, W], [1, R, W] -> [1, T, W]
    return rows if read is None else x.index_copy(1, read, rows)


def _rows(x: Tensor) -> Tensor:  # [1, T, W] -> [T, W]
    return x.view(-1, x.shape[-1])
