"""Publishes a policy: a checkpoint that any server can load, named by its updates."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.models import Loaded

from ..lora import merge


def checkpoint_directory(output: Path) -> Path:
    return output / "checkpoints"


def checkpoint_name(policy_name: str, updates: int) -> str:
    return f"{policy_name}-{updates:06d}"


def publish(
    directory: Path,
    policy: Loaded,
    model: Any,
    name: str,
    updates: int,
    seal: Callable[[Path], None] | None,  # signs the checkpoint before it appears
) -> None:
    """Writes `model`, a copy of the policy's, with adapters merged; what was published before a resume stays."""
    if directory.exists():
        return
    save_checkpoint(
        directory,
        merge(model),
        policy.encoder.tokenizer,
        tokenizer_fingerprint=policy.encoder.fingerprint,
        model_name=name,
        kind="policy",
        policy_version=updates,
        seal=seal,
    )


def remove_all_but(directory: Path, kept: Collection[str]) -> None:
    """Removes checkpoints that are not named; each disappears in one rename."""
    for left_over in directory.glob(".*.gone"):  # by a run that was killed
        shutil.rmtree(left_over)
    for path in directory.glob("[!.]*"):
        if path.name not in kept:
            gone = path.with_name(f".{path.name}.gone")
            path.rename(gone)
            shutil.rmtree(gone)
