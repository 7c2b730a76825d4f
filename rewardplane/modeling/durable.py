"""Writes that survive a crash of the machine."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""What a person must put right: full, over quota, read-only."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def sync_path(path: Path) -> None:
    """Waits until a file's bytes, or a directory's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def appearing_whole(directory: Path) -> Iterator[Path]:
    """A directory to be filled, which appears as `directory` in one rename when all of it is on the disk, or never."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield staging
        for path in (*staging.iterdir(), staging):
            sync_path(path)
        staging.chmod(0o755)
        staging.rename(directory)
        sync_path(directory.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raises the OSError that torch and safetensors only hint at; of a full disk torch says "unexpected pos 576"."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        number = _errno_of(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _errno_of(error: Exception) -> int | None:
    if isinstance(error.__context__, OSError):
        return error.__context__.errno
    words = _OS_ERROR.search(str(error))
    return int(words.group(1)) if words else None
