"""How cores become batches side by side, and the models that take turns."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.loading import load_served
from rewardplane.services.roles import ROLES
from tiny_models import save_tiny


@pytest.mark.parametrize(
    ("settings", "cores", "expected"),
    [
        ({}, 1, (1, 1)),
        ({}, 2, (2, 1)),
        ({}, 8, (2, 4)),
        ({"threads": 1}, 8, (1, 1)),
        ({"parallel_batches": 1}, 2, (1, 2)),
        ({"parallel_batches": 4}, 8, (4, 2)),
        ({"parallel_batches": 3}, 2, (3, 1)),
        ({"device": "cuda"}, 8, (2, 4)),
    ],
)
def test_threads_are_shared_out(settings: dict[str, Any], cores: int, expected: tuple[int, int]) -> None:
    assert ServerConfig(**settings).compute_threads(cores) == expected


@pytest.mark.parametrize("kind", ["default", "linear", "dynamic", "longrope"])
def test_models_whose_frequencies_follow_lengths_compute_one_batch_at_a_time(tmp_path: Path, kind: str) -> None:
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0}
    if kind in ("linear", "dynamic"):
        rope["factor"] = 2.0
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 128}
    save_tiny(tmp_path / "rm", "reward", rope_parameters=rope)
    model = load_served(ROLES["reward"], tmp_path / "rm", ServerConfig(threads=torch.get_num_threads()))
    assert isinstance(model.turn, nullcontext) == (kind in ("default", "linear"))
