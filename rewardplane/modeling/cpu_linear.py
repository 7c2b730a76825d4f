"""Linear layers on CPU through a kernel of ours, or oneDNN where it does not run: batch-invariant to the bit.

A row of the result has the same bits whatever else is in the batch and however many threads run, which MKL
does not promise (it changes kernels for a few rows). So a pair scores the same alone and in any batch, and
the trainer's log-probs equal the reference server's exactly.

Frozen weights (requires_grad is off, as a server's are) are laid out once. Those that are trained change with every
step: for our kernel they are laid out each time. For oneDNN that costs more than it saves, and they are read as they
lie, to the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from .fused.product import multiplies, multiply, panels_of
from .packed_row import is_packed_row

PACKED_FOR_ROWS = 1024
"""The number of rows that frozen weights are laid out for; any number may be multiplied."""

VECTOR = 16
"""Numbers in the widest register."""

_packed: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def use_packed_linear(model: nn.Module) -> None:
    """Makes every plain nn.Linear of the model run packed rows through `linear`; parameters keep their names."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = PackedLinear


class PackedLinear(nn.Linear):
    """nn.Linear through `linear` in packed rows.

    Not in decoding: oneDNN compiles a kernel for every new number of rows (1 ms), and answers end one by one.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the name is nn.Linear's
        return (linear if is_packed_row() else F.linear)(input, self.weight, self.bias)


def linear(
    x: Tensor,  # [..., K]
    weight: Tensor,  # [N, K]
    bias: Tensor | None = None,  # [N]
) -> Tensor:  # [..., N]
    """F.linear; on CPU in float32 batch-invariant. Differentiable."""
    if not eligible(x, weight):
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():  # the same product, without what a node of a graph costs: 2 % of a forward
        return _product(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


def eligible(x: Tensor, weight: Tensor) -> bool:
    """Whether our kernel or oneDNN multiplies them."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and type(weight) in (Tensor, nn.Parameter)
    )


def takes_rounded(x: Tensor, weight: Tensor) -> bool:
    """Whether `linear_rounded` multiplies them."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and weight.dtype == torch.bfloat16
        and not weight.requires_grad
        and type(weight) in (Tensor, nn.Parameter)
        and multiplies(weight)
    )


def linear_rounded(
    x: Tensor,  # float32[..., K]
    weight: Tensor,  # bfloat16[N, K]  frozen
    bias: Tensor | None = None,  # [N]
) -> Tensor:  # float32[..., N]
    """F.linear of x in bfloat16, with sums in float32; batch-invariant. Not differentiable."""
    return multiply(x, laid_out(weight), bias, len(weight))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        grad_weight, grad_bias = weight_gradients(grad, x, needs_weight, needs_bias)
        return grad @ weight if needs_x else None, grad_weight, grad_bias


def weight_gradients(
    grad: Tensor,  # [..., N]  of the product
    x: Tensor,  # [..., K]
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[Tensor | None, Tensor | None]:  # [N, K], [N]
    rows = grad.reshape(-1, grad.shape[-1])
    return (
        rows.T @ x.reshape(-1, x.shape[-1]) if needs_weight else None,
        rows.sum(0) if needs_bias else None,
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if multiplies(weight):
        return multiply(x, laid_out(weight), bias, len(weight))
    # As they lie, weights take other kernels, and give other bits, for a single row and for widths that fill no vector.
    as_it_lies = weight.requires_grad and x.numel() > x.shape[-1] and x.shape[-1] % VECTOR == 0
    packed = weight if as_it_lies else laid_out(weight)
    y: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, packed, bias, "none", [], "")
    return y


def laid_out(weight: Tensor) -> Tensor:  # [N, K]
    """As products read it; kept where it is frozen."""
    return _reorder(weight) if weight.requires_grad else _pack(weight)


def _pack(weight: Tensor) -> Tensor:
    """The weight as it is laid out, kept until it changes.

    In-place changes through `weight.data` are not seen: call `forget_packed_weights` after them.
    """
    if weight.is_inference():  # it counts no versions
        return _reorder(weight)
    known: _Packed | None = _packed.get(weight)
    if known is None or known.version != weight._version or known.data.data_ptr() != weight.data_ptr():
        known = _Packed(weight._version, weight.detach(), _reorder(weight))
        _packed[weight] = known
    return known.packed


def forget_packed_weights() -> None:
    """Packs every weight anew when it is next used."""
    _packed.clear()


@dataclass(frozen=True)
class _Packed:
    version: int
    data: Tensor  # kept alive, so that no other weight can come to lie at its address
    packed: Tensor


def _reorder(weight: Tensor) -> Tensor:
    if multiplies(weight):
        return panels_of(weight.detach())
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight.default(weight.detach(), PACKED_FOR_ROWS)
    return packed
