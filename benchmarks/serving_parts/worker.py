"""Talks to the processes that compute without a server (offline.py, head_memory.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .assets import Assets, Request
from .servers import alike

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, **alike(1)}


class Worker:
    """One process of offline.py."""

    def __init__(self, assets: Assets) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "offline.py"), str(assets.reward.parent)],
            env=ENVIRONMENT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, what: str, requests: Sequence[Request] = (), **options: Any) -> Any:
        """Runs a method of `offline.Offline`, on the pairs of requests where it takes texts."""
        if requests:
            options["texts"] = [(request.question, answer) for request in requests for answer in request.answers]
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"what": what, **options}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"offline.py ended while it was asked for {what}; its error is above")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


def head_memory(what: str) -> dict[str, float]:
    """Runs head_memory.py: extra_bytes, cpu_seconds, sum."""
    command = [sys.executable, str(HERE / "head_memory.py"), what]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
