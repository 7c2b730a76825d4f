"""Whether there are kernels for a GPU, and a decoder of them for a model. Importing it needs no triton."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..plain_decoder import is_plain
from ..rounded import rounded_dtype

if TYPE_CHECKING:
    from .decoder import CudaDecoder

HAVE_TRITON = importlib.util.find_spec("triton") is not None


def has_kernels(x: Tensor) -> bool:
    return HAVE_TRITON and x.is_cuda


def cuda_decoder(model: Any, tokens: int) -> CudaDecoder | None:
    """For a causal model's sequences of up to `tokens`, if it is on a GPU and known to the last detail.

    It has the model's weights of now.
    """
    if not has_kernels(next(model.parameters())) or not is_plain(model, "cuda"):
        return None
    from ..frozen import frozen
    from .decoder import CudaDecoder

    decoder = frozen(model.model)
    if not isinstance(decoder, CudaDecoder):
        decoder = CudaDecoder.of(model.model, rounded_dtype(model.lm_head.weight))
    return decoder if decoder is not None and decoder.sees_all(tokens) else None
