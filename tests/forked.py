"""`rewardplane ...` as processes of their own, forked from one that has torch imported already.

Importing torch and transformers takes a process 9 s of CPU; a fork takes none, and is killed just as dead.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["rewardplane.services.__main__", "rewardplane.trainer.ppo.train", "transformers.models.llama.modeling_llama"]
)


def _run(argv: list[str], log: str, environment: Mapping[str, str]) -> None:
    """What the process does."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.environ.update(environment)
    import torch

    from rewardplane.__main__ import main

    torch.set_num_threads(1)  # as many as the tests' own process: with more, sums are cut differently
    sys.exit(main(argv))


class Command:
    """`rewardplane ARGV...`; it ends with the tests if not before."""

    def __init__(self, argv: list[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        self.process = _FORKS.Process(target=_run, args=(argv, str(log), environment or {}), daemon=True)
        self.process.start()

    def kill(self) -> None:
        """With SIGKILL, as the kernel does when memory runs out."""
        self.process.kill()
        self.process.join(30)

    def wait(self, timeout_s: float) -> int:
        """Gives the exit status: -9 of a killed one."""
        self.process.join(timeout_s)
        status = self.process.exitcode
        if status is None:
            raise TimeoutError(f"still running after {timeout_s} s:\n{self.log.read_text()}")
        return status


class Gang:
    """The same command in several processes, which find each other as those of torchrun do."""

    def __init__(self, count: int, argv: list[str], log: Path) -> None:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "test"}
        self.log = log
        self.commands = [
            Command(argv, log, {**meeting, "RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(count)})
            for i in range(count)
        ]

    def kill(self) -> None:
        for command in self.commands:
            command.kill()

    def wait(self, timeout_s: float) -> Sequence[int]:
        """Gives the exit statuses by rank; as soon as one fails, the others are ended, as torchrun does."""
        end_s = time.monotonic() + timeout_s
        try:
            while any(command.process.is_alive() for command in self.commands):
                if any(command.process.exitcode for command in self.commands):
                    break
                if time.monotonic() > end_s:
                    raise TimeoutError(f"still running after {timeout_s} s:\n{self.log.read_text()}")
                time.sleep(0.02)
            time.sleep(0.5 * any(command.process.exitcode for command in self.commands))
        finally:
            self.kill()
        return [command.wait(1) for command in self.commands]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
