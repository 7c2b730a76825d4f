"""Where tests of Triton's kernels run: on a CUDA device, or in triton's interpreter.

TRITON_INTERPRET=1 takes the interpreter (triton 3.6's with numpy < 2.3).
"""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
needs_triton = [
    pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="needs triton"),
    pytest.mark.skipif(
        not (INTERPRETED or torch.cuda.is_available()), reason="needs one CUDA device, or TRITON_INTERPRET=1"
    ),
]
