"""Publishes a policy: a checkpoint that any server can load, named by its updates."""

from __future__ import annotations

from pathlib import Path

from rewardplane.modeling.checkpoint import Manifest, read_manifest, save_checkpoint
from rewardplane.modeling.models import Loaded

from .config import PpoRunConfig


def checkpoint_directory(output: Path) -> Path:
    return output / "checkpoints"


def publish(policy: Loaded, config: PpoRunConfig, updates: int) -> tuple[Path, Manifest]:
    """Writes `checkpoints/NAME-UPDATES`; one that was published before a resume stays."""
    directory = checkpoint_directory(config.output.directory) / f"{config.policy.name}-{updates:06d}"
    if directory.exists():
        return directory, read_manifest(directory)
    manifest = save_checkpoint(
        directory,
        policy.model,
        policy.encoder.tokenizer,
        tokenizer_fingerprint=policy.encoder.fingerprint,
        model_name=config.policy.name,
        kind="policy",
        policy_version=updates,
    )
    return directory, manifest
