"""Before a model serves: its batched forward must say what its own forward says."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.packing import MIN_SHARED_TOKENS
from rewardplane.wire import TokenPair

from .served_model import ServedModel

QUESTION_TOKENS = 2 * MIN_SHARED_TOKENS
ANSWER_TOKENS = (3, 8, 5)
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""What goes wrong (positions, masks, sinks) is off by 0.1 and more."""


def self_check(model: ServedModel, seed: int = 0) -> None:
    """Raises BadCheckpoint, naming the model, when a batch differs from transformers' own forward of each pair
    alone, or when a score or log-prob is not finite."""
    pairs = random_pairs(model, seed)
    outputs, _ = model.forward(pairs)
    if not all(np.isfinite(output).all() for output in outputs):
        raise BadCheckpoint(f"{_name(model)} gives {model.output_name} that are not finite: NaN in its weights?")
    error = model.error(pairs)
    if not error <= TOLERANCE[model.loaded.model.dtype]:
        raise BadCheckpoint(
            f"{_name(model)} cannot be served: its batched forward differs from its own by {error:.1e} "
            "of the largest number"
        )


def random_pairs(model: ServedModel, seed: int) -> list[TokenPair]:
    """Three answers to one question, so that sharing is checked, and a pair of its own."""
    generator = np.random.default_rng(seed)
    room = model.loaded.max_pair_tokens - max(ANSWER_TOKENS)

    def ids(n: int) -> NDArray[np.int32]:
        return generator.integers(model.encoder.vocabulary_size, size=n, dtype=np.int32)

    question = ids(min(QUESTION_TOKENS, room))
    return [*(TokenPair(question, ids(n)) for n in ANSWER_TOKENS), TokenPair(ids(2), ids(3))]


def _name(model: ServedModel) -> str:
    return f"{model.version.model_name} ({type(model.loaded.model).__name__})"
