"""Checksums of a state: a run goes on from the bytes that were written, or not at all.

torch.load takes a file with a changed byte for what it says, and the run would end with other numbers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rewardplane.modeling.checkpoint import BadCheckpoint

SUMS = "sha256.json"
WAY_OUT = "remove that state, and the run goes on from the one before"


def write_sums(directory: Path) -> None:
    """SHA-256 of every file that is in the directory now."""
    (directory / SUMS).write_text(json.dumps({path.name: _sha256(path) for path in sorted(directory.iterdir())}))


def check_sums(directory: Path) -> None:
    """Raises BadCheckpoint when a file is not the one that was written. States of older versions have no sums."""
    if not (directory / SUMS).exists():
        return
    try:
        sums = json.loads((directory / SUMS).read_bytes())
        wrong = [name for name, sha256 in sums.items() if _sha256(directory / name) != sha256]
    except (ValueError, AttributeError, OSError) as error:
        raise BadCheckpoint(f"{directory}: {error}; {WAY_OUT}") from error
    if wrong:
        raise BadCheckpoint(f"{directory}: {', '.join(wrong)} changed since the state was written; {WAY_OUT}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
