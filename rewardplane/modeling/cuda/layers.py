"""The layers of a Llama, Mistral, Qwen or SmolLM, written out for a GPU: four products, and kernels between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gated_product import gated_product
from .norm import add_and_norm
from .rotary import HeadNorms, Heads
from .swiglu import swiglu
from .use import can_gate

FEW_ROWS, MANY_ROWS = 256, 1024
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

    def add_to(self, states: Tensor, x: Tensor, parts: int = 1) -> Tensor | None:  # [T, N], [T, K]
        """Gives what is still to be added: None, or for few rows [S, T, N], whose sum it is.

        For few rows it is read where the states are next. `parts`: of the inputs; as one, a product with many of them
        leaves multiprocessors waiting (21 to 15 us).
        """
        if len(x) > FEW_ROWS:
            if self.bias is not None:
                states += self.bias
            if x.dtype == states.dtype:
                states.addmm_(x, self.weight.T)
            else:
                torch.addmm(states, x, self.weight.T, states.dtype, out=states)
            return None
        if parts == 1 or self.bias is not None or x.shape[1] % parts:
            return self(x)[None]
        left = x.unflatten(1, (parts, -1)).transpose(0, 1)
        return torch.bmm(left, self.weight.unflatten(1, (parts, -1)).permute(1, 2, 0))


class CudaLayer:
    def __init__(self, layer: Any, dtype: torch.dtype, *, owns: bool) -> None:  # of a transformers decoder of FAMILIES
        self.dtype = dtype
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

    def project(self, states: Tensor, more: Tensor | None) -> Tensor:  # [T, d] -> [T, (H + 2 * G) * D]
        """Queries, keys and values, after the states have got what the layer before still adds."""
        return self.projection(add_and_norm(states, more, *self.first, self.dtype))

    def feed_forward(self, states: Tensor, attended: Tensor) -> Tensor | None:  # [T, d] get what they can
        """Adds attention, and gives what the layer still adds, [S, T, d] whose sum it is."""
        more = self.out.add_to(states, attended)
        between = self._gated(add_and_norm(states, more, *self.second, self.dtype))
        return self.down.add_to(states, between, PARTS)

    def _gated(self, x: Tensor) -> Tensor:  # [T, d] -> [T, D]
        if len(x) >= MANY_ROWS and self.gate_up.bias is None and can_gate(x, self.gate_up.weight):
            return gated_product(x, self.gate_up.weight)
        return swiglu(self.gate_up(x))
