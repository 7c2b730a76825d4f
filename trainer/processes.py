"""The processes that train one model together: those of torchrun, or one alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from .models import choose_device

T = TypeVar("T")

LONGEST_WAIT_S = 1800.0
"""For a process that does not come to a meeting of all: it writes a checkpoint, or hangs."""


@dataclass(frozen=True)
class Processes:
    """How many there are and which one this is. All of them must call the same methods in the same order."""

    rank: int = 0
    count: int = 1
    mesh: DeviceMesh | None = None
    """What their models are sharded over; None for one alone."""

    @property
    def first(self) -> bool:
        """Whether this is the one that reports and writes."""
        return self.rank == 0

    def loading_device(self, name: str) -> torch.device:
        """Where models are put when they are loaded: sharding moves them to the GPU, layer by layer."""
        return torch.device("cpu") if self.mesh else choose_device(name)

    def gather(self, own: T) -> list[T]:
        """What each process gives (anything that can be pickled, in host memory), by rank."""
        if self.count == 1:
            return [own]
        given: list[Any] = [None] * self.count
        dist.all_gather_object(given, own)
        return given

    def of_first(self, own: T) -> T:
        """What the first process has."""
        return self.gather(own)[0]

    def sums(self, values: Sequence[float]) -> list[float]:
        """Adds up numbers, each over all processes."""
        return [sum(own) for own in zip(*self.gather(values), strict=True)]

    def add_up(self, x: Tensor) -> Tensor:
        """Adds up a tensor over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(x)
        return x

    def from_first(self, call: Callable[[], T]) -> T:
        """What `call` gives in the first process, in all of them; what it raises is raised in all of them."""
        if self.count == 1:
            return call()
        said: list[Any] = [None, None]
        if self.first:
            try:
                said[0] = call()
            except Exception as error:  # whatever it is, it is raised below, here and elsewhere
                said[1] = error
        dist.broadcast_object_list(said, src=0)
        if said[1] is not None:
            raise said[1]
        result: T = said[0]
        return result


ALONE = Processes()


@contextmanager
def joined(device: str, longest_wait_s: float = LONGEST_WAIT_S) -> Iterator[Processes]:
    """Meets the other processes that torchrun started; without torchrun there are none.

    On GPUs each process takes that of its number on this machine.
    """
    if not dist.is_torchelastic_launched():
        yield ALONE
        return
    kind = choose_device(device).type
    if kind == "cuda":
        torch.cuda.set_device(dist.get_node_local_rank())
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=longest_wait_s))
    count = dist.get_world_size()
    yield Processes(dist.get_rank(), count, init_device_mesh(kind, (count,)) if count > 1 else None)
    # Not after an error: the others are told by torchrun, and do not come to say good-bye.
    dist.barrier()
    dist.destroy_process_group()
