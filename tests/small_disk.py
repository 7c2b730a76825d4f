"""A disk of its own for a test: small, so that it fills up, and its tests may make it read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """To the last byte."""
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass

    def make_room(self) -> None:
        self._filler.unlink()

    def read_only(self, on: bool = True) -> None:
        _run("mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path))


@contextmanager
def small_disk(path: Path, size: str = "64m") -> Iterator[SmallDisk]:
    """Skips the test where no file system can be mounted."""
    path.mkdir()
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system needs root, with CAP_SYS_ADMIN")
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
