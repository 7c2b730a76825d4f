"""Starts servers, and reads from /proc what they and all processes below them cost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
STOP_S = 20.0


class DidNotStart(RuntimeError):
    """A server that ended, or did not answer in time; the message has the end of its log."""


class ServerProcess:
    """A server and everything it starts, as one tree of processes."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("w") as out:
            self._process = subprocess.Popen(
                list(command), env={**os.environ, **environment}, stdout=out, stderr=out, start_new_session=True
            )

    def check(self, give_up_s: float) -> None:
        """Raises DidNotStart when it has ended, or when the clock of time.monotonic is past `give_up_s`."""
        if self._process.poll() is not None:
            raise DidNotStart(f"it ended with {self._process.returncode}: {self.last_error()}")
        if time.monotonic() > give_up_s:
            raise DidNotStart(f"it does not answer: {self.last_error()}")

    def cpu_seconds(self) -> float:
        """User and system time of the whole tree since it began."""
        return sum(_ticks(pid) for pid in tree(self._process.pid)) / TICKS_PER_S

    def resident_bytes(self) -> int:
        """Of the whole tree; what its processes share counts once."""
        return sum(_proportional_bytes(pid) for pid in tree(self._process.pid))

    def stop(self) -> None:
        """Asks, then kills; nothing of the tree stays behind."""
        pids = tree(self._process.pid)
        self._process.send_signal(signal.SIGINT)  # at SIGTERM PyTriton leaves its files and its tritonserver behind
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in pids[1:]:
            if _session(pid) == self._process.pid:
                os.kill(pid, signal.SIGKILL)

    def last_error(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line or "error:" in line]
        return (errors or lines or ["it said nothing"])[-1][-300:]


def tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (proc(5)); [] when the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _ticks(pid: int) -> int:
    # utime, stime, and those of children that have ended
    return sum(map(int, _stat(pid)[11:15]))


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
