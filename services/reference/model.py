"""A causal language model on the compute thread."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch

from rewardplane.modeling.models import load_causal_model, packed_logprobs
from rewardplane.modeling.packing import PackedPairs

from ..common.packed_model import PackedModel
from ..common.served_model import Floats


class CausalModel(PackedModel):
    """Its output for a pair is float32[A]: the log-prob of every answer token, in nats."""

    output_name = "log-probs"

    @classmethod
    def load(cls, directory: Path, dtype: torch.dtype, device: str, processes: int) -> Self:
        """Raises BadCheckpoint."""
        return cls(load_causal_model(directory, dtype, device, processes=processes))

    def outputs(self, packed: PackedPairs, temperature: float) -> list[Floats]:
        logprobs = packed_logprobs(self.loaded.model, packed, temperature)
        flat = logprobs.float().cpu()
        return [part.numpy() for part in flat.split(packed.answer_lengths)]

    def score(self, output: Floats) -> float:
        """The sum of the answer's log-probs."""
        return float(output.sum(dtype="float64"))
