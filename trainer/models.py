"""Models as trainers load them and where they put them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.signing import BadKey, TrustedKeys

from .config import ConfigError

CHECKPOINT = "checkpoint"


def new_checkpoint_directory(output: Path) -> Path:
    """Where a run will save its model. Raises ConfigError when a model is there: none is ever overwritten."""
    directory = output / CHECKPOINT
    if directory.exists():
        raise ConfigError(f"output = {output}: it holds a checkpoint already; remove it or choose another")
    return directory


def check_model_directory(key: str, path: Path) -> None:
    """Raises ConfigError where no model is: transformers would look for the path on its hub."""
    if not (path / "config.json").is_file():
        raise ConfigError(f"{key} = {path}: no Hugging Face model directory, which would hold a config.json")


def check_signed(trusted_keys: Path | None, **paths: Path | None) -> None:
    """Raises ConfigError for a model that none of the trusted keys has signed; `paths` by their keys, `_` for a dot."""
    if trusted_keys is None:
        return
    try:
        trusted = TrustedKeys(trusted_keys)
    except BadKey as error:
        raise ConfigError(f"trusted_keys: {error}") from error
    for key, path in paths.items():
        if path is not None:
            try:
                trusted.require(path)
            except BadCheckpoint as error:
                raise ConfigError(f"{key.replace('_', '.')}: {error}") from error


def choose_device(name: str) -> torch.device:
    """Finds what "auto" means: a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def turn_dropout_off(model: Any) -> None:  # a transformers PreTrainedModel
    """In the configuration too, so that whoever trains the checkpoint next has none either.

    With dropout, log-probs of one text differ from pass to pass, and PPO's first ratio is not 1.
    """
    for name, value in model.config.to_dict().items():
        if ("dropout" in name or "pdrop" in name) and isinstance(value, float):
            setattr(model.config, name, 0.0)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.eval()
