"""States that a run can go on from, to the last bit.

Questions, texts and random numbers are functions of the seed and the update, so a state is weights, optimizer
moments, the KL coefficient and the scale of the scores. A state appears under its name in one rename.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from rewardplane.modeling.durable import sync_path

from .update import Learner


@dataclass(frozen=True)
class Progress:
    """What a run knows beside its weights."""

    update: int  # updates done
    kl_coef: float
    score_mean: float  # of the untrained policy's answers
    score_spread: float
    reward_digest: str  # the judges' weights
    reference_digest: str
    settings: str  # digest of what decides the run's numbers


def save_state(directory: Path, learner: Learner, progress: Progress, keep: int) -> Path:
    """Writes the state of `progress.update` under `directory` and removes all but the newest `keep`."""
    directory.mkdir(parents=True, exist_ok=True)
    for half_written in directory.glob(".state.*"):  # by a run that was killed
        shutil.rmtree(half_written)
    staging = Path(tempfile.mkdtemp(prefix=".state.", dir=directory))
    try:
        torch.save(_tensors(learner), staging / "tensors.pt")
        (staging / "progress.json").write_text(json.dumps(asdict(progress)))
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
    return Progress(**json.loads((state / "progress.json").read_text()))


def load_weights(state: Path, learner: Learner) -> None:
    """Puts weights and optimizers back."""
    saved = torch.load(state / "tensors.pt", map_location=learner.policy.device, weights_only=True)
    for part, content in _parts(learner).items():
        content.load_state_dict(saved[part])


def _parts(learner: Learner) -> dict[str, torch.nn.Module | torch.optim.Optimizer]:
    return {
        "policy": learner.policy,
        "value": learner.value,
        "policy_optimizer": learner.policy_optimizer.adamw,
        "value_optimizer": learner.value_optimizer.adamw,
    }


def _tensors(learner: Learner) -> dict[str, object]:
    return {name: part.state_dict() for name, part in _parts(learner).items()}
