"""A part in a process of its own, which begins with all that this one has imported."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO


@dataclass(frozen=True)
class Forked:
    pid: int
    output: IO[str]
    """What it prints, until it ends."""
    _errors: IO[str]

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def end(self) -> None:
        """It, and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()


@contextmanager
def forked(run: Callable[[], None]) -> Iterator[Forked]:
    """This process must not have used CUDA. What `run` started ends with it."""
    read, write = os.pipe()
    with tempfile.TemporaryFile("w+") as errors:
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            os.setsid()
            os.close(read)
            os.dup2(write, 1)
            os.dup2(errors.fileno(), 2)
            os._exit(_status(run))
        os.close(write)
        with os.fdopen(read) as output:
            part = Forked(pid, output, errors)
            try:
                yield part
            finally:
                part.end()


def _status(run: Callable[[], None]) -> int:
    try:
        run()
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
