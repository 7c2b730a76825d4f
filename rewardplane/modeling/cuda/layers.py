"""The layers of a Llama, Mistral, Qwen or SmolLM, written out for a GPU: four products, and kernels between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .norm import add_and_norm
from .rotary import HeadNorms, Heads
from .swiglu import swiglu

FEW_ROWS = 256
PARTS = 4
"""Of a product with many inputs."""


@dataclass(frozen=True)
class Product:
    """One product for several linear units of the same inputs."""

    weight: Tensor  # [N, K]
    bias: Tensor | None  # [N]

    @classmethod
    def of(cls, units: Sequence[nn.Linear], dtype: torch.dtype, *, owns: bool) -> Product:
        """`owns`: the units' weights become parts of the product's, so that there is one copy of them."""
        weights = [unit.weight.detach() for unit in units]
        together = weights[0].to(dtype) if len(weights) == 1 else torch.cat([x.to(dtype) for x in weights])
        if owns and len(units) > 1:
            for unit, part in zip(units, together.split([len(x) for x in weights]), strict=True):
                unit.weight.data = part
        biases = [unit.bias for unit in units]
        if all(bias is None for bias in biases):
            return cls(together, None)
        filled = [x.new_zeros(len(x)) if b is None else b.detach() for x, b in zip(weights, biases, strict=True)]
        return cls(together, torch.cat([bias.to(dtype) for bias in filled]))

    def __call__(self, x: Tensor) -> Tensor:  # [T, K] -> [T, N]
        return F.linear(x, self.weight, self.bias)

    def in_parts(self, x: Tensor) -> Tensor:  # [T, K] -> [T, N], or [PARTS, T, N] whose sum it is
        """For few rows the inputs are divided: as one, the product leaves multiprocessors waiting (21 to 15 us)."""
        if len(x) > FEW_ROWS or self.bias is not None or x.shape[1] % PARTS:
            return self(x)
        left = x.unflatten(1, (PARTS, -1)).transpose(0, 1)
        right = self.weight.unflatten(1, (PARTS, -1)).permute(1, 2, 0)
        return torch.bmm(left, right)


class CudaLayer:
    def __init__(self, layer: Any, dtype: torch.dtype, *, owns: bool) -> None:  # of a transformers decoder of FAMILIES
        attention, feed_forward = layer.self_attn, layer.mlp
        norms = layer.input_layernorm, layer.post_attention_layernorm
        self.first, self.second = ((norm.weight.detach(), norm.variance_epsilon) for norm in norms)
        self.projection = Product.of([attention.q_proj, attention.k_proj, attention.v_proj], dtype, owns=owns)
        self.out = Product.of([attention.o_proj], dtype, owns=owns)
        self.gate_up = Product.of([feed_forward.gate_proj, feed_forward.up_proj], dtype, owns=owns)
        self.down = Product.of([feed_forward.down_proj], dtype, owns=owns)
        self.scaling = float(attention.scaling)
        self.turns = bool(getattr(attention, "use_rope", True))
        width = attention.head_dim
        self.heads = Heads(attention.q_proj.out_features // width, attention.k_proj.out_features // width, width)
        self.norms = None
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm, attention.k_norm
            self.norms = HeadNorms(query.weight.detach(), key.weight.detach(), query.variance_epsilon)

    def project(self, x: Tensor, more: Tensor | None) -> Tensor:  # [T, (H + 2 * G) * D]
        """Queries, keys and values of states, to which the layer before still adds `more`."""
        return self.projection(add_and_norm(x, more, *self.first))

    def feed_forward(self, x: Tensor, attended: Tensor) -> Tensor:  # [T, d], or [PARTS, T, d] whose sum it is
        """What the layer still adds to the states, after it has added its attention."""
        between = self.gate_up(add_and_norm(x, self.out(attended), *self.second))
        return self.down.in_parts(swiglu(between))
