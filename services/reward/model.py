"""A reward model on the compute thread."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardplane.modeling.models import load_reward_model, packed_scores
from rewardplane.modeling.packing import PackedPairs

from ..common.served_model import Floats, ServedModel


class RewardModel(ServedModel):
    """Its output for a pair is float32[1]: the score, shifted so that reference answers average 0."""

    output_name = "score"

    @classmethod
    def load(cls, directory: Path, dtype: torch.dtype, device: str) -> RewardModel:
        """Raises BadCheckpoint."""
        return cls(load_reward_model(directory, dtype, device))

    def outputs(self, packed: PackedPairs, temperature: float) -> list[Floats]:
        model = self.loaded.model
        offset = float(getattr(model.config, "reward_offset", 0.0))
        scores = packed_scores(model, packed).float() - offset
        return list(scores.cpu().numpy()[:, None])

    def score(self, output: Floats) -> float:
        return float(output[0])
