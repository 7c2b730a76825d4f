"""What happens when a forward pass runs out of memory: it is run again in smaller parts, or refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import TypeVar

import torch
from prometheus_client import CollectorRegistry, Counter

from . import faults
from .pair_queue import Entry
from .served_model import Floats, RowTokens

log = logging.getLogger(__name__)

T = TypeVar("T")
Outputs = tuple[Sequence[Floats | faults.Fault], RowTokens]
Run = Callable[[Sequence[Entry]], Outputs]

# torch's allocator on a CPU raises a plain RuntimeError, and oneDNN and OpenMP have words of their own.
_WORDS = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc")


class MemoryGuard:
    """Between the batcher and the model. Runs on the compute thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._out_of_memory = Counter(
            "rewardplane_out_of_memory_total",
            "Times that memory ran out: batches run again as two halves, pairs and sampling blocks refused",
            ["then"], registry=registry,
        )  # fmt: skip
        for then in ("halved", "refused"):
            self._out_of_memory.labels(then)

    def forward(self, run: Run, batch: Sequence[Entry]) -> Outputs:
        """An output for each entry, or the fault OUT_OF_MEMORY for one that does not even fit alone.

        In two halves first; of a half that does not fit, each pair for itself, so that nobody is refused for what
        another caller sent. Raises what else `run` raises.
        """
        outputs = self._try(run, batch)
        if outputs is not None:
            return outputs
        if len(batch) == 1:
            return self._refuse(batch[0])
        log.warning("out of memory with %d pairs: they are run again as two halves", len(batch))
        self._out_of_memory.labels("halved").inc()
        middle = len(batch) // 2
        return _join([self._half(run, batch[:middle]), self._half(run, batch[middle:])])

    def _half(self, run: Run, half: Sequence[Entry]) -> Outputs:
        outputs = self._try(run, half)
        if outputs is not None:
            return outputs
        return _join([self._try(run, [entry]) or self._refuse(entry) for entry in half])

    def alone(self, run: Callable[[], T]) -> T:
        """What cannot be halved. Raises ServerFault (OUT_OF_MEMORY) when memory runs out."""
        try:
            return run()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        _free()
        self._out_of_memory.labels("refused").inc()
        raise faults.out_of_memory("the answers that are sampled side by side")

    def _try(self, run: Run, batch: Sequence[Entry]) -> Outputs | None:
        """None when memory ran out; whatever the attempt held is free again."""
        try:
            return run(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Here and not above: the error's traceback holds the tensors of the failed pass.
        _free()
        return None

    def _refuse(self, entry: Entry) -> Outputs:
        log.error("out of memory with one pair of %d tokens", entry.tokens)
        self._out_of_memory.labels("refused").inc()
        return [faults.out_of_memory(f"pairs[{entry.index}]")], RowTokens(0, 0, 0)


def _join(parts: Sequence[Outputs]) -> Outputs:
    outputs = [output for part, _ in parts for output in part]
    return outputs, reduce(add, (tokens for _, tokens in parts))


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error).lower() for words in _WORDS)


def _free() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
