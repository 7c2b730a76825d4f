"""Gives a model the kernels."""

from __future__ import annotations

from typing import Any

from .layer import fuse_layers
from .norm import fuse_norms
from .rotary import fuse_rotary
from .rows import HAVE_NUMBA
from .swiglu import fuse_swiglu


def use_fused_kernels(model: Any) -> None:  # a transformers decoder
    """Has the model's modules run the kernels where they can; parameters and names stay as they are.

    Kernels run on CPU in float32 and bfloat16; elsewhere, and without numba, modules run as transformers wrote them,
    except for norms on a GPU: torch has a kernel for them there.
    """
    if model.device.type == "cuda":
        fuse_norms(model)
    if model.device.type != "cpu" or not HAVE_NUMBA:
        return
    fuse_norms(model)
    fuse_swiglu(model)
    fuse_rotary(model)
    fuse_layers(model)
