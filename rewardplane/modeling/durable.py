"""Writes that survive a crash of the machine."""

from __future__ import annotations

import os
from pathlib import Path


def sync_path(path: Path) -> None:
    """Waits until a file's bytes, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
