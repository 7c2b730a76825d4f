"""The processes of the benchmark: judges, delaying proxies and the trainers that take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
START_TIMEOUT_S = 120.0


def start(command: Sequence[str], log: Path, extra_path: Path | None = None) -> subprocess.Popen[str]:
    """Every process computes with one thread. stderr goes to `log`."""
    environment = {**os.environ, **ONE_THREAD, "TRL_EXPERIMENTAL_SILENCE": "1", "HF_HUB_OFFLINE": "1"}
    if extra_path is not None:
        environment["PYTHONPATH"] = str(extra_path)
    return subprocess.Popen(
        [sys.executable, *command],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True,
    )  # fmt: skip


class Judge:
    """`rewardplane serve ROLE` as a process of its own."""

    def __init__(self, role: str, model: Path, directory: Path) -> None:
        self._ports = directory / f"{role}.json"
        self._ports.unlink(missing_ok=True)
        self.log = directory / f"{role}.log"
        where = ["--model", str(model), "--port", "0", "--metrics-port", "0", "--port-file", str(self._ports)]
        self.process = start(["-m", "rewardplane", "serve", role, "--threads", "1", *where], self.log)

    @property
    def target(self) -> str:
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self._ports.exists():
            if time.monotonic() > end_s or self.process.poll() is not None:
                raise RuntimeError(f"the judge does not serve:\n{self.log.read_text()}")
            time.sleep(0.05)
        return f"127.0.0.1:{json.loads(self._ports.read_text())['port']}"


class Delayed:
    """The same judge, its answers `delay_s` later."""

    def __init__(self, target: str, delay_s: float, directory: Path) -> None:
        log = directory / f"proxy-{target.rpartition(':')[2]}.log"
        self.process = start([str(HERE / "delay_proxy.py"), target, str(delay_s)], log)
        assert self.process.stdout is not None
        self.target = f"127.0.0.1:{int(self.process.stdout.readline())}"


@dataclass(frozen=True)
class Block:
    """Some updates of one contestant."""

    seconds: tuple[float, ...]  # wall time of each update
    cpu_seconds: float  # of all its processes, judges too
    stages: Mapping[str, float]


class Contestant:
    """A trainer, which waits until it is asked for a block of updates."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, helpers: Sequence[int], extra_path: Path | None = None
    ) -> None:
        """`helpers`: ids of the processes that work for it beside its own."""
        self.name = name
        self.log = log
        self.process = start(command, log, extra_path)
        self._helpers = helpers

    def run(self, updates: int) -> Block:
        before = self._cpu_seconds()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{updates}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name} ended:\n{self.log.read_text()[-4000:]}")
        report = json.loads(line)
        return Block(tuple(report["seconds"]), self._cpu_seconds() - before, report["stages"])

    def _cpu_seconds(self) -> float:
        own = psutil.Process(self.process.pid)
        processes = [own, *own.children(recursive=True), *(psutil.Process(pid) for pid in self._helpers)]
        times = [process.cpu_times() for process in processes]
        return sum(t.user + t.system for t in times)
