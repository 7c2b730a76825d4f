"""Judges that can be killed, as processes of their own."""

from __future__ import annotations

import json
import time
from pathlib import Path

from forked import Command


class JudgeProcess:
    """A judge that can be killed, and started again where it was."""

    def __init__(self, role: str, model: Path, folder: Path, *flags: str, name: str = "", port: int = 0) -> None:
        self.role = role
        self._model = model
        self._flags = flags
        self._ports = folder / f"{name or role}.json"
        self._log = folder / f"{name or role}.log"
        self.start(port)

    def start(self, port: int) -> None:
        self._port = port
        self._ports.unlink(missing_ok=True)
        ports = ["--port", str(port), "--metrics-port", "0", "--port-file", str(self._ports)]
        where = ["--model", str(self._model), "--threads", "1", *ports]
        self._command = Command(["serve", self.role, *where, *self._flags], self._log)

    @property
    def target(self) -> str:
        """Its address, once it serves."""
        return f"127.0.0.1:{self._bound()['port']}"

    @property
    def metrics_port(self) -> int:
        return self._bound()["metrics_port"]

    @property
    def pid(self) -> int:
        pid = self._command.process.pid
        assert pid is not None
        return pid

    def log(self) -> str:
        return self._log.read_text(errors="replace")  # gRPC logs what it was sent

    def _bound(self) -> dict[str, int]:
        """The ports, once it serves."""
        end_s = time.monotonic() + 100  # the first one waits for the imports
        while not self._ports.exists():
            if time.monotonic() > end_s or not self._command.process.is_alive():
                raise RuntimeError(f"the {self.role} judge does not serve:\n{self._log.read_text()}")
            time.sleep(0.02)
        ports: dict[str, int] = json.loads(self._ports.read_text())
        return ports

    def kill(self) -> None:
        self._command.kill()

    def drain(self) -> int:
        """SIGTERM; gives the exit status."""
        self._command.process.terminate()
        return self._command.wait(60)

    def start_again(self) -> None:
        """At the same port, also when it was killed before it served."""
        self.start(self._port or self._bound()["port"])
