"""Loads a model so that the first caller finds it right and warm."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch

from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.frozen import freeze
from rewardplane.modeling.sampling import Sampling
from rewardplane.modeling.signing import BadKey, TrustedKeys
from rewardplane.wire import TokenPair

from .config import ServerConfig, WrongSetting
from .generation import Sampler
from .info import pair_limit
from .role import Role
from .self_check import self_check
from .served_model import ServedModel
from .team_model import Leader

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_served(role: Role, directory: Path, config: ServerConfig, leader: Leader | None = None) -> ServedModel:
    """Loads, checks and warms a model up. Raises BadCheckpoint, naming it, when it cannot be served.

    With a `leader`, all processes of its team load it, each its part.
    """
    started_s = time.monotonic()
    log.info("loading %s", directory)
    if leader is None:
        model = read_model(role, directory, config)
    else:
        model = leader.load(directory, lambda: read_model(role, directory, config, leader.processes))
    self_check(model)
    _warm_up(model, config)
    log.info("loaded %s from %s in %.1f s", model.version.model_name, directory, time.monotonic() - started_s)
    return model


def read_model(role: Role, directory: Path, config: ServerConfig, processes: int = 1) -> ServedModel:
    """Loads a model, or a process's part of it. Raises BadCheckpoint."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise BadCheckpoint(f"{directory} cannot be loaded on cuda: torch finds no CUDA device")
    signed = _signed_digest(directory, config.trusted_keys) if config.trusted_keys else None
    model = role.load(directory, DTYPES[config.dtype], config.device, processes)
    if signed not in (None, model.loaded.manifest.digest):
        raise BadCheckpoint(f"{directory} was changed while it was loaded")
    _own_memory(model.loaded.model)
    model.loaded.model.requires_grad_(False)
    freeze(model.loaded.model.base_model)
    kind = model.loaded.manifest.kind
    if kind not in role.checkpoint_kinds:
        raise BadCheckpoint(f"{directory} is a {kind} checkpoint, which is not served as {role.name}")
    return model


def _signed_digest(directory: Path, trusted_keys: Path) -> str:
    try:
        return TrustedKeys(trusted_keys).require(directory)
    except BadKey as error:  # the file was fine at the start, and is not now
        raise BadCheckpoint(f"{directory} cannot be verified: {error}") from error


def read_trusted(path: Path) -> TrustedKeys:
    """Raises WrongSetting."""
    try:
        return TrustedKeys(path)
    except BadKey as error:
        raise WrongSetting("trusted_keys", str(error)) from error


def _own_memory(model: torch.nn.Module) -> None:
    """Copies what lies in the checkpoint's files, which safetensors maps: whoever wrote into one, or cut it off,
    would change the scores of a running server, or kill it with SIGBUS."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            tensor.data = tensor.data.clone()


def _warm_up(model: ServedModel, config: ServerConfig) -> None:
    """One batch of the largest size, and an answer: kernels are compiled, memory is taken, out of memory shows now."""
    ids = np.random.default_rng(0).integers(model.encoder.vocabulary_size, size=config.batch_tokens, dtype=np.int32)
    room = pair_limit(model, config)
    pairs = [
        TokenPair(part[:1], part[1:])
        for start in range(0, len(ids), room)
        if len(part := ids[start : start + room]) > 1
    ]
    model.forward(pairs)
    if isinstance(model, Sampler):
        model.sample([ids[:1]], 1, Sampling(max_answer_tokens=2))
