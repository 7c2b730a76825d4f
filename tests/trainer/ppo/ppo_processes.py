"""`rewardplane ...` as processes of their own, forked from one that has torch imported already.

Importing torch and transformers takes a process 9 s of CPU; a fork takes none, and is killed just as dead.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["rewardplane.services.__main__", "rewardplane.trainer.ppo.train", "transformers.models.llama.modeling_llama"]
)


def _run(argv: list[str], log: str) -> None:
    """What the process does."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    import torch

    from rewardplane.__main__ import main

    torch.set_num_threads(1)  # as many as the tests' own process: with more, sums are cut differently
    sys.exit(main(argv))


class Command:
    """`rewardplane ARGV...`; it ends with the tests if not before."""

    def __init__(self, argv: list[str], log: Path) -> None:
        self.log = log
        self.process = _FORKS.Process(target=_run, args=(argv, str(log)), daemon=True)
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


class JudgeProcess:
    """A judge that can be killed, and started again where it was."""

    def __init__(self, role: str, model: Path, folder: Path) -> None:
        self.role = role
        self._model = model
        self._ports = folder / f"{role}.json"
        self._log = folder / f"{role}.log"
        self.start(0)

    def start(self, port: int) -> None:
        self._ports.unlink(missing_ok=True)
        ports = ["--port", str(port), "--metrics-port", "0", "--port-file", str(self._ports)]
        self._command = Command(["serve", self.role, "--model", str(self._model), "--threads", "1", *ports], self._log)

    @property
    def target(self) -> str:
        """Its address, once it serves."""
        end_s = time.monotonic() + 100  # the first one waits for the imports
        while not self._ports.exists():
            if time.monotonic() > end_s or not self._command.process.is_alive():
                raise RuntimeError(f"the {self.role} judge does not serve:\n{self._log.read_text()}")
            time.sleep(0.02)
        return f"127.0.0.1:{json.loads(self._ports.read_text())['port']}"

    def kill(self) -> None:
        self._command.kill()

    def start_again(self) -> None:
        self.start(int(self.target.rpartition(":")[2]))
