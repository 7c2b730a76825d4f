"""Processes that hold one model together: what the first one computes, all of them compute, at the same time.

torchrun starts them. The first one serves; it tells the others each call of the model before it makes it, and they
make it, too, each with its part of the weights. Calls are made one after the other, loading among them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypeVar

import torch
import torch.distributed as dist

from .config import WrongSetting

T = TypeVar("T")

FOREVER = timedelta(days=3650)
"""For the next call: a server may be idle for long."""
LONGEST_STEP = timedelta(seconds=300)
"""For the other processes, within a call."""


@dataclass(frozen=True)
class Task:
    """A call of the model numbered `number`, or what is done with it as a whole."""

    name: Literal["load", "forward", "error", "sample", "forget", "stop"]
    number: int = 0
    arguments: tuple[Any, ...] = ()


class TeamLost(RuntimeError):
    """A process is gone, or does not answer: what the others hold is of no use."""


class PartFailed(RuntimeError):
    """A call that one of the other processes could not make."""


@dataclass(frozen=True)
class _Outcome:
    error: str | None
    lost: bool = False


class Team:
    """One of the processes, and its way to the others."""

    def __init__(self, rank: int, count: int, give_up: Callable[[str], NoReturn]) -> None:
        """`give_up` ends this process at once."""
        self.rank = rank
        self.count = count
        self.give_up = give_up
        self._calls = dist.new_group(backend="gloo", timeout=FOREVER)

    def tell(self, task: Task) -> None:
        """In the first process."""
        dist.broadcast_object_list([task], src=0, group=self._calls)

    def hear(self) -> Task:
        """In the others."""
        said: list[Any] = [None]
        dist.broadcast_object_list(said, src=0, group=self._calls)
        assert isinstance(said[0], Task)
        return said[0]

    def together(self, call: Callable[[], T]) -> T:
        """Makes this process's part of a call. Raises what it raises, PartFailed for another's, and TeamLost."""
        error: Exception | None = None
        try:
            result = call()
        except Exception as raised:  # whatever it is, all learn of it before it goes on its way
            error = raised
        outcomes = self._exchange(_outcome(error))
        for rank, outcome in enumerate(outcomes):
            if outcome.lost:
                raise TeamLost(f"process {rank} lost the others: {outcome.error}") from error
        if error is not None:
            raise error
        for rank, outcome in enumerate(outcomes):
            if outcome.error is not None:
                raise PartFailed(f"process {rank}: {outcome.error}")
        return result

    def _exchange(self, own: _Outcome) -> Sequence[_Outcome]:
        # One that failed amid a call leaves the others waiting in it, and itself here.
        stuck = threading.Timer(LONGEST_STEP.total_seconds(), self.give_up, ["the others are amid a call that failed"])
        stuck.daemon = True
        if own.error is not None:
            stuck.start()
        outcomes: list[Any] = [None] * self.count
        dist.all_gather_object(outcomes, own, group=self._calls)
        stuck.cancel()
        return outcomes


def _outcome(error: Exception | None) -> _Outcome:
    if error is None:
        return _Outcome(None)
    return _Outcome(f"{type(error).__name__}: {error}", lost=is_lost(error))


def is_lost(error: BaseException) -> bool:
    """Whether the error is one of talking to the others. (gloo's are plain RuntimeErrors that name its files.)"""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo/" in str(error))


@contextmanager
def joined(device: str, give_up: Callable[[str], NoReturn]) -> Iterator[Team]:
    """Meets the other processes of torchrun; on GPUs each takes that of its number on this machine.

    Raises WrongSetting where transformers would choose another device.
    """
    accelerator = torch.accelerator.current_accelerator()
    chosen = accelerator.type if accelerator else "cpu"
    if chosen != device:
        raise WrongSetting("device", f"several processes split a model over what torch finds, {chosen}, not {device}")
    if device == "cuda":
        torch.cuda.set_device(dist.get_node_local_rank())
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=LONGEST_STEP)
    yield Team(dist.get_rank(), dist.get_world_size(), give_up)
    dist.destroy_process_group()
