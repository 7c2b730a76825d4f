"""Finds the checkpoint to serve, and the next one when a trainer has published it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from rewardplane.modeling.checkpoint import MANIFEST, BadCheckpoint

log = logging.getLogger(__name__)


def find_checkpoint(directory: Path) -> Path:
    """The checkpoint at `directory`: itself, where its link points, or the newest one among its children.

    The newest is the one with the most PPO updates in its manifest. Raises BadCheckpoint when there is none.
    """
    # Resolved now: a link that moves while files are read would mix two checkpoints.
    directory = directory.resolve()
    if not directory.is_dir():
        raise BadCheckpoint(f"{directory} is not a directory")
    if (directory / "config.json").is_file():
        return directory
    # A name with a leading dot is one that is still being written.
    children = [p.parent for p in directory.glob(f"*/{MANIFEST}") if not p.parent.name.startswith(".")]
    if not children:
        raise BadCheckpoint(f"{directory} holds neither a model (config.json) nor checkpoints (*/{MANIFEST})")
    return max(children, key=lambda child: (_policy_version(child), child.name))


def _policy_version(checkpoint: Path) -> int:
    try:
        return int(json.loads((checkpoint / MANIFEST).read_bytes())["policy_version"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadCheckpoint(f"{checkpoint / MANIFEST} is not a manifest: {error}") from error


async def follow(directory: Path, current: Path, seconds: float, replace: Callable[[Path], Awaitable[None]]) -> None:
    """Calls `replace` for every new checkpoint, until cancelled. One that fails is not tried again."""
    refused: Path | None = None
    while True:
        await asyncio.sleep(seconds)
        try:
            found = await asyncio.to_thread(find_checkpoint, directory)
        except BadCheckpoint as error:
            log.warning("still serving %s: %s", current, error)
            continue
        if found in (current, refused):
            continue
        try:
            await replace(found)
        except BadCheckpoint as error:
            log.error("still serving %s: %s", current, error)
            refused = found
        else:
            current = found
