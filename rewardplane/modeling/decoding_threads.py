"""How many threads of a CPU decode: a step of a small model is over before a second thread has woken up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

WORTH_A_THREAD = 50_000_000
"""Multiplications of a step: a millisecond or two of one core, dealt out over dozens of products."""


@contextmanager
def decoding_threads(model: Any, rows: int) -> Iterator[None]:
    """Of the threads that torch has, as many as a step for `rows` answers keeps busy."""
    threads = torch.get_num_threads()
    products = rows * sum(p.numel() for p in model.parameters())
    torch.set_num_threads(max(1, min(threads, products // WORTH_A_THREAD)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
