"""The vector registers of this CPU, and how much of a product's result is summed up in them at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Panel(NamedTuple):
    """A part of a result whose sums lie in registers."""

    rows: int
    columns: int  # a multiple of lanes
    lanes: int
    """Numbers of a register."""


# Asked of the CPU, as numba asks it, which keeps compiled kernels on disk for each kind of CPU.
_CPU = torch.cpu.get_capabilities()
AVX512 = bool(_CPU.get("avx512_f"))
BFLOAT16 = bool(_CPU.get("avx512_bf16")) and not _CPU.get("amx_bf16")
"""Whether products of bfloat16 are ours. A CPU with tiles multiplies these faster than any registers do."""
if not AVX512:
    PANEL = Panel(6, 16, 8)
elif BFLOAT16:
    PANEL = Panel(12, 32, 16)
else:
    PANEL = Panel(6, 64, 16)
"""Of linear layers: 24 of 32 registers add up, or 12 of 16. On Intel's Ice Lake loads are scarce, and six rows need
fewer: products are a tenth quicker. Zen 4, where the other was measured, is told by its instructions for bfloat16."""
SMALL_PANEL = Panel(6, 16, 8)
"""Of attention, whose segments are short. Measured with AVX-512: larger ones are no quicker."""
