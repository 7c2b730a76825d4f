"""An encoder reward model (BERT and its kin) on the compute thread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from rewardplane.modeling.packing import Share
from rewardplane.modeling.padded import num_tokens, padded_scores, padded_tokens
from rewardplane.wire import TokenPair

from ..common.served_model import Floats, RowTokens, ServedModel


class EncoderRewardModel(ServedModel):
    """Its output for a pair is float32[1]: the score, shifted so that reference answers average 0.

    `share` says nothing to it: an encoder's states of a question depend on the answer. A batch of equal questions
    so holds more tokens than the batcher counted; it runs in parts of their own limit.
    """

    output_name = "score"

    def forward(
        self, pairs: Sequence[TokenPair], temperature: float = 1.0, *, share: Share = "question"
    ) -> tuple[list[Floats], RowTokens]:
        with torch.inference_mode():
            scores = padded_scores(self.loaded.model, pairs) - self.loaded.reward_offset
        lengths = [num_tokens(pair) for pair in pairs]
        tokens = RowTokens(computed=sum(lengths), shared=0, filler=padded_tokens(lengths) - sum(lengths))
        return list(scores.cpu().numpy()[:, None]), tokens

    def score(self, output: Floats) -> float:
        return float(output[0])

    def error(self, pairs: Sequence[TokenPair]) -> float:
        """Of the scores."""
        together = np.stack(self.forward(pairs)[0])
        alone = np.stack([self.forward([pair])[0][0] for pair in pairs])
        return float(np.abs(together - alone).max() / np.abs(alone).max())
