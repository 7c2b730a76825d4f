"""Publishes a policy: a checkpoint that any server can load, named by its updates."""

from __future__ import annotations

from pathlib import Path

from rewardplane.modeling.checkpoint import Manifest, read_manifest, save_checkpoint
from rewardplane.modeling.models import Loaded

from .config import PpoRunConfig


def publish(policy: Loaded, config: PpoRunConfig, updates: int) -> tuple[Path, Manifest]:
    """Writes `checkpoints/NAME-UPDATES`; one that a run before this one has published already stays."""
    directory = config.output.directory / "checkpoints" / f"{config.policy.name}-{updates:06d}"
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
