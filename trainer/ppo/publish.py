"""Publishes a policy: a checkpoint that any server can load, named by its updates."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.models import Loaded


def checkpoint_directory(output: Path) -> Path:
    return output / "checkpoints"


def checkpoint_name(policy_name: str, updates: int) -> str:
    return f"{policy_name}-{updates:06d}"


def host_copy(model: Any) -> Any:  # a transformers PreTrainedModel
    """The same model in host memory, which training does not change any more; needs no device memory."""
    twins: dict[int, Any] = {}
    for parameter in model.parameters():
        twins[id(parameter)] = nn.Parameter(parameter.detach().to("cpu", copy=True), parameter.requires_grad)
    for buffer in model.buffers():
        twins[id(buffer)] = buffer.detach().to("cpu", copy=True)
    with torch.no_grad():
        return copy.deepcopy(model, twins)


def publish(directory: Path, policy: Loaded, model: Any, name: str, updates: int) -> None:
    """Writes `model`, a copy of the policy's; a checkpoint that was published before a resume stays."""
    if directory.exists():
        return
    save_checkpoint(
        directory,
        model,
        policy.encoder.tokenizer,
        tokenizer_fingerprint=policy.encoder.fingerprint,
        model_name=name,
        kind="policy",
        policy_version=updates,
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
