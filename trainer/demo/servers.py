"""Starts rewardplane servers as processes of their own and stops them again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0


class ServerFailed(RuntimeError):
    """A server that ended before it served; the message holds the end of its log."""


@contextmanager
def serving(role: str, model: Path, directory: Path) -> Iterator[str]:
    """Runs `rewardplane serve ROLE --model MODEL`; gives its address once it serves. Logs into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    log, ports = directory / f"{role}.log", directory / f"{role}.ports.json"
    ports.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "rewardplane", "serve", role, "--model", str(model),
        "--port", "0", "--metrics-port", "0", "--port-file", str(ports),
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{_wait_for_port(process, ports, log)}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], ports: Path, log: Path) -> int:
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up:
        if ports.exists():
            port: int = json.loads(ports.read_text())["port"]
            return port
        if process.poll() is not None:
            raise ServerFailed(f"the server ended with status {process.returncode}:\n{_end_of(log)}")
        time.sleep(0.1)
    raise ServerFailed(f"the server did not start within {START_TIMEOUT_S:.0f} s:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
