"""A model that a team holds: in the first process it looks like any other, and the others take part."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.packing import Share
from rewardplane.modeling.sampling import Sampling
from rewardplane.wire import TokenPair

from .generation import Sampler
from .served_model import Floats, RowTokens, ServedModel
from .team import PartFailed, Task, Team, TeamLost, is_lost

log = logging.getLogger(__name__)

T = TypeVar("T")

STOP_S = 5.0
"""How long the last call may take once the server is told to stop."""


class Stopped(RuntimeError):
    """The team has ended."""


class Leader:
    """In the first process: makes calls in all of them, one at a time, from any thread."""

    def __init__(self, team: Team) -> None:
        self.processes = team.count
        self._team = team
        self._turn = threading.Lock()
        self._numbers = itertools.count(1)
        self._stopped = False
        self._gone: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._forget, name="team-forget", daemon=True).start()

    def load(self, directory: Path, read: Callable[[], ServedModel]) -> ServedModel:
        """Loads a model in all processes. Raises BadCheckpoint where one of them cannot."""
        number = next(self._numbers)
        try:
            own = self.call(Task("load", number, (directory,)), read)
        except Exception as error:
            self._gone.put(number)  # where it was loaded
            if isinstance(error, PartFailed):
                raise BadCheckpoint(f"{directory} cannot be loaded by {error}") from error
            raise
        model = (TeamSampler if isinstance(own, Sampler) else TeamModel)(own, number, self)
        weakref.finalize(model, self._gone.put, number)
        return model

    def call(self, task: Task, own: Callable[[], T]) -> T:
        """Raises what `own` raises, PartFailed, and Stopped. A team that lost a process ends."""
        with self._turn:
            if self._stopped:
                raise Stopped
            return self._make(task, own)

    def stop(self) -> None:
        """Lets the others end, after the call that is being made; they are left where it takes long."""
        if not self._turn.acquire(timeout=STOP_S):
            self._team.give_up("told to stop amid a long call")
        self._stopped = True
        self._make(Task("stop"), lambda: None)
        self._turn.release()

    def _make(self, task: Task, own: Callable[[], T]) -> T:
        try:
            self._team.tell(task)
            return self._team.together(own)
        except Exception as error:
            if isinstance(error, TeamLost) or is_lost(error):
                self._team.give_up(str(error))
            raise

    def _forget(self) -> None:
        """On a thread of its own: models go whenever Python finds that nobody needs them, maybe amid a call."""
        with suppress(Stopped):
            while True:
                self.call(Task("forget", self._gone.get()), lambda: None)


class TeamModel(ServedModel):
    """The first process's part, and with each call of it those of the others."""

    def __init__(self, own: ServedModel, number: int, leader: Leader) -> None:
        super().__init__(own.loaded)
        self.output_name = own.output_name
        self._own = own
        self._number = number
        self._leader = leader

    def forward(
        self, pairs: Sequence[TokenPair], temperature: float = 1.0, *, share: Share = "question"
    ) -> tuple[list[Floats], RowTokens]:
        task = Task("forward", self._number, (pairs, temperature, share))
        return self._leader.call(task, lambda: self._own.forward(pairs, temperature, share=share))

    def score(self, output: Floats) -> float:
        return self._own.score(output)

    def error(self, pairs: Sequence[TokenPair]) -> float:
        return self._leader.call(Task("error", self._number, (pairs,)), lambda: self._own.error(pairs))


class TeamSampler(TeamModel):
    """One that writes answers."""

    def sample(
        self, questions: Sequence[NDArray[np.int32]], answers_per_question: int, sampling: Sampling
    ) -> list[NDArray[np.int32]]:
        own = self._own
        assert isinstance(own, Sampler)
        sample = own.sample
        task = Task("sample", self._number, (questions, answers_per_question, sampling))
        return self._leader.call(task, lambda: sample(questions, answers_per_question, sampling))


class Member:
    """In the other processes: takes part until it is told to stop."""

    def __init__(self, team: Team, read: Callable[[Path], ServedModel]) -> None:
        self._team = team
        self._read = read
        self._models: dict[int, ServedModel] = {}

    def run(self) -> None:
        """Raises TeamLost, or gloo's own errors, when the first process is gone."""
        while (task := self._team.hear()).name != "stop":
            try:
                self._team.together(lambda task=task: self._take_part(task))  # type: ignore[misc]
            except TeamLost:
                raise
            except Exception as error:
                if is_lost(error):
                    raise
                log.warning("%s failed in a process of the team: %s", task.name, error)
        self._team.together(lambda: None)

    def _take_part(self, task: Task) -> None:
        if task.name == "load":
            self._models[task.number] = self._read(*task.arguments)
        elif task.name == "forget":
            self._models.pop(task.number, None)
        elif task.name == "forward":
            pairs, temperature, share = task.arguments
            self._models[task.number].forward(pairs, temperature, share=share)
        else:
            getattr(self._models[task.number], task.name)(*task.arguments)
