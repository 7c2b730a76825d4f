"""States that a run can go on from, to the last bit.

Questions, texts and random numbers are functions of the seed and the update, so a state is weights, optimizer
moments, the KL coefficient, the scale of the scores, and the answers that were sampled ahead: the weights that sampled
them are gone. A state appears under its name in one rename.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from rewardplane.modeling.durable import disk_errors, sync_path

from ..sums import check_sums, write_sums
from .learner import Learner, State
from .rollout import Rollout
from .scoring import ScoreScale

TENSORS, PROGRESS = "tensors.pt", "progress.json"
AHEAD = "ahead"  # among the tensors


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    update: int
    value: float


@dataclass(frozen=True)
class Progress:
    """What a run knows beside its weights."""

    update: int  # updates done
    stopped: bool  # over kl.stop_nats: no update follows
    best: Best | None
    kl_coef: float
    scale: ScoreScale
    reward_digest: str  # the judges' weights
    reference_digest: str
    settings: str  # digest of what decides the run's numbers


def snapshot(learner: Learner, ahead: Mapping[int, Rollout]) -> State:
    """Weights and optimizer states in host memory, which training does not change any more; of the first process.

    And the rollouts of later updates, where there are any.
    """
    tensors = learner.policy.state() | (learner.value.state() if learner.value is not None else {})
    return tensors | ({AHEAD: {update: rollout.tensors() for update, rollout in ahead.items()}} if ahead else {})


def write_state(directory: Path, tensors: State, progress: Progress, keep: int) -> Path:
    """Writes the state of `progress.update` under `directory` and removes all but the newest `keep`."""
    directory.mkdir(parents=True, exist_ok=True)
    for half_written in directory.glob(".state.*"):  # by a run that was killed
        shutil.rmtree(half_written)
    staging = Path(tempfile.mkdtemp(prefix=".state.", dir=directory))
    try:
        with disk_errors(staging), (staging / TENSORS).open("wb") as file:
            torch.save(tensors, file)
        (staging / PROGRESS).write_text(json.dumps(asdict(progress)))
        write_sums(staging)
        for path in (*staging.iterdir(), staging):
            sync_path(path)
        final = directory / f"{progress.update:08d}"
        if final.exists():  # left by a run that was killed after this update and went on from an older state
            shutil.rmtree(final)
        staging.rename(final)
        sync_path(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for old in sorted(directory.glob("[0-9]*"))[:-keep]:
        shutil.rmtree(old)
    return final


def newest_state(directory: Path) -> Path | None:
    """The state with the most updates, or None. What a killed run left half-written is not among them."""
    states = sorted(directory.glob("[0-9]*"))
    return states[-1] if states else None


def read_progress(state: Path) -> Progress:
    """Raises BadCheckpoint when a byte of the state has changed."""
    check_sums(state)
    content = json.loads((state / PROGRESS).read_text())
    best = content.pop("best")
    scale = ScoreScale(**content.pop("scale"))
    return Progress(**content, best=Best(**best) if best else None, scale=scale)


def load_weights(state: Path, learner: Learner) -> None:
    """Puts weights and optimizers back."""
    saved = torch.load(state / TENSORS, weights_only=True, mmap=True)  # a shard needs only its share
    learner.policy.load(saved)
    if learner.value is not None:
        learner.value.load(saved)


def read_ahead(state: Path) -> dict[int, dict[str, Tensor]]:
    """The rollouts of later updates that were sampled already."""
    found: dict[int, dict[str, Tensor]] = torch.load(state / TENSORS, weights_only=True, mmap=True).get(AHEAD, {})
    return found
