"""A reward model on the compute thread."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardplane.modeling.models import load_reward_model, packed_scores
from rewardplane.modeling.packing import PackedPairs
from rewardplane.modeling.padded import is_encoder

from ..common.packed_model import PackedModel
from ..common.served_model import Floats, ServedModel
from .encoder import EncoderRewardModel


def load(directory: Path, dtype: torch.dtype, device: str, processes: int) -> ServedModel:
    """Raises BadCheckpoint."""
    loaded = load_reward_model(directory, dtype, device, processes=processes)
    return EncoderRewardModel(loaded) if is_encoder(loaded.model.config) else RewardModel(loaded)


class RewardModel(PackedModel):
    """Its output for a pair is float32[1]: the score, shifted so that reference answers average 0."""

    output_name = "score"

    def outputs(self, packed: PackedPairs, temperature: float) -> list[Floats]:
        scores = packed_scores(self.loaded.model, packed).float() - self.loaded.reward_offset
        return list(scores.cpu().numpy()[:, None])

    def score(self, output: Floats) -> float:
        return float(output[0])
