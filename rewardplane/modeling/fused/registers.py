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
AVX512 = bool(torch.cpu.get_capabilities().get("avx512_f"))
PANEL = Panel(12, 32, 16) if AVX512 else Panel(6, 16, 8)
"""Of linear layers: 24 of 32 registers add up, or 12 of 16."""
SMALL_PANEL = Panel(6, 16, 8)
"""Of attention, whose segments are short. Measured with AVX-512: larger ones are no quicker."""
