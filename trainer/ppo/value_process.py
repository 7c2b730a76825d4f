"""The value model in a process of its own, on a CPU with several cores: two models of one process share cores badly.

Between their products both want Python's interpreter, which one has at a time: policy and value model took as long side
by side as one after the other. The process ends when the run's does, however that ends.

python -m rewardplane.trainer.ppo.value_process SOCKET
"""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from rewardplane.process import prepare_process

from .config import PpoConfig, PpoRunConfig
from .learner import State
from .microbatch import Minibatch
from .rollout import TrainingBatch
from .value_learner import ValueLearner

MODULE = "rewardplane.trainer.ppo.value_process"
CLOSE_TIMEOUT_S = 10.0


class ValueProcessGone(RuntimeError):
    """The value model's process has ended, and not because it was told to."""


class ValueProcess:
    """The run's end of it. See ValueWork."""

    def __init__(self, config: PpoRunConfig, threads: int) -> None:
        """Returns at once: the model loads meanwhile, and `ready` waits for it."""
        own, theirs = socket.socketpair()
        with theirs:
            # -P: what lies where the run was started is no module of it, as for the run itself.
            command = [sys.executable, "-P", "-m", MODULE, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._connection = Connection(own.detach())
        self._lock = threading.Lock()
        self._send((config, threads))

    def ready(self) -> str:
        """Fingerprint of the tokenizer that the value model reads, once it is loaded. Raises what loading raised."""
        fingerprint: str = self._reply()
        return fingerprint

    def measure(self, mask: Tensor, minibatches: Sequence[Minibatch], *, keep: bool) -> tuple[Tensor, bool]:
        return self._call("measure", mask, minibatches, keep), keep

    def steps(
        self, batch: TrainingBatch, minibatches: Sequence[Minibatch], config: PpoConfig, update: int, first: bool | None
    ) -> list[dict[str, float]]:
        figures: list[dict[str, float]] = self._call("steps", batch, minibatches, config, update, bool(first))
        return figures

    def standardise(self, mean: float, spread: float) -> None:
        self._call("standardise", mean, spread)

    def state(self) -> State:
        state: State = self._call("state")
        return state

    def load(self, state: State) -> None:
        self._call("load", {name: part for name, part in state.items() if name.startswith("value")})

    def close(self) -> None:
        self._connection.close()
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # in the middle of a long step, which nobody waits for
            self._process.kill()
            self._process.wait()

    def _call(self, name: str, *arguments: Any) -> Any:
        with self._lock:
            self._send((name, arguments))
            return self._reply()

    def _send(self, what: Any) -> None:
        message = pickle.dumps(what)
        try:
            self._connection.send_bytes(message)
        except OSError:
            raise self._gone() from None

    def _reply(self) -> Any:
        try:
            reply = self._connection.recv_bytes()
        except (EOFError, OSError):  # the latter in the middle of a message, as when memory ran out over a state
            raise self._gone() from None
        failed, result = pickle.loads(reply)
        if failed:
            raise result
        return result

    def _gone(self) -> ValueProcessGone:
        return ValueProcessGone(
            f"the value model's process ended with code {self._process.wait()} (-9: it was killed, perhaps for want of "
            "memory); value.own_process = false runs the value model in the run's own"
        )


class _Host:
    """What the process does when it is asked."""

    def __init__(self, learner: ValueLearner) -> None:
        self._learner = learner
        self._first: Tensor | None = None
        self.standardise, self.state, self.load = learner.standardise, learner.state, learner.load

    def measure(self, mask: Tensor, minibatches: Sequence[Minibatch], keep: bool) -> Tensor:
        values, self._first = self._learner.measure(mask, minibatches, keep=keep)
        return values

    def steps(
        self, batch: TrainingBatch, minibatches: Sequence[Minibatch], config: PpoConfig, update: int, first: bool
    ) -> list[dict[str, float]]:
        known, self._first = self._first if first else None, None
        return self._learner.steps(batch, minibatches, config, update, known)


def serve(connection: Connection) -> None:
    """Until the other end closes, whatever it was waiting for."""
    from .setup import load_value_learner  # which starts this process

    hosts: list[_Host] = []

    def load() -> str:
        config, threads = pickle.loads(connection.recv_bytes())
        torch.set_num_threads(threads)
        learner, fingerprint = load_value_learner(config)
        hosts.append(_Host(learner))
        return fingerprint

    with suppress(EOFError, OSError):  # of the connection: those of the work are answers
        _answer(connection, load)
        while hosts:
            name, arguments = pickle.loads(connection.recv_bytes())
            _answer(connection, partial(getattr(hosts[0], name), *arguments))


def _answer(connection: Connection, work: Callable[[], Any]) -> None:
    try:
        reply = pickle.dumps((False, work()))
    except Exception as error:  # the run decides what it means
        error.add_note(traceback.format_exc())
        reply = pickle.dumps((True, _sendable(error)))
    connection.send_bytes(reply)


def _sendable(error: Exception) -> Exception:
    """The error, or what it says where it cannot be pickled and read again: some come from libraries in C or Rust."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        said = RuntimeError(f"{type(error).__name__}: {error}")
        said.__notes__ = error.__notes__
        return said
    return error


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run hears it, too, and closes this process in order
    prepare_process()
    serve(Connection(int(sys.argv[1])))
