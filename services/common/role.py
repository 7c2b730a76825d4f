"""A role: which capabilities a deployment has, and how its model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from rewardplane.modeling.checkpoint import Kind
from rewardplane.v1 import model_service_pb2

from .served_model import ServedModel

Capability = Literal["score", "logprobs", "generate"]


@dataclass(frozen=True)
class Role:
    """What `rewardplane serve NAME` serves."""

    name: str
    capabilities: frozenset[Capability]
    checkpoint_kinds: frozenset[Kind | None]
    """The manifests' kinds that this role may load; None is a plain Hugging Face directory."""
    score_kind: model_service_pb2.ScoreKind
    load: Callable[[Path, torch.dtype, str, int], ServedModel]
    """Takes directory, dtype, device, and how many processes split the model. Raises BadCheckpoint."""
