"""Judges that can be killed, as processes of their own."""

from __future__ import annotations

import json
import time
from pathlib import Path

from forked import Command


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
