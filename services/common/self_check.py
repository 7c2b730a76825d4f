"""Before a model serves: its packed forward must say what its own forward says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.modeling import attention
from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.packing import MIN_SHARED_TOKENS, pack
from rewardplane.wire import TokenPair

from .served_model import ServedModel

QUESTION_TOKENS = 2 * MIN_SHARED_TOKENS
ANSWER_TOKENS = (3, 8, 5)
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Of the largest hidden state. What goes wrong (positions, masks, sinks) is off by 0.1 and more."""


def self_check(model: ServedModel, seed: int = 0) -> None:
    """Raises BadCheckpoint, naming the model, when packed states differ from transformers' eager forward of
    each pair alone, or when a score or log-prob is not finite."""
    pairs = random_pairs(model, seed)
    outputs, _ = model.forward(pairs)
    if not all(np.isfinite(output).all() for output in outputs):
        raise BadCheckpoint(f"{_name(model)} gives {model.output_name} that are not finite: NaN in its weights?")
    with torch.inference_mode():
        packed = pack(pairs).to(model.loaded.model.device)
        hidden = packed_hidden(model.loaded.model.base_model, packed).float()
        alone = _one_by_one(model, pairs)
    got = torch.cat([hidden[packed.predict_index], hidden[packed.last_index]])
    want = torch.cat([
        *(states[len(pair.question_ids) - 1 : -1] for states, pair in zip(alone, pairs, strict=True)),
        *(states[-1:] for states in alone),
    ])  # fmt: skip
    error = float((got - want).abs().max() / want.abs().max())
    if not error <= TOLERANCE[model.loaded.model.dtype]:
        raise BadCheckpoint(
            f"{_name(model)} cannot be served: its packed forward differs from its own by {error:.1e} "
            "of the largest hidden state"
        )


def random_pairs(model: ServedModel, seed: int) -> list[TokenPair]:
    """Three answers to one question, so that sharing is checked, and a pair of its own."""
    generator = np.random.default_rng(seed)
    room = model.loaded.max_pair_tokens - max(ANSWER_TOKENS)

    def ids(n: int) -> NDArray[np.int32]:
        return generator.integers(model.encoder.vocabulary_size, size=n, dtype=np.int32)

    question = ids(min(QUESTION_TOKENS, room))
    return [*(TokenPair(question, ids(n)) for n in ANSWER_TOKENS), TokenPair(ids(2), ids(3))]


def _one_by_one(model: ServedModel, pairs: Sequence[TokenPair]) -> list[Tensor]:
    """float[Q + A, d] for each pair, by the attention that transformers wrote for this model."""
    transformer = model.loaded.model
    rows = [torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids])).long() for pair in pairs]
    transformer.set_attn_implementation("eager")
    try:
        outputs = [transformer.base_model(input_ids=row[None].to(transformer.device), use_cache=False) for row in rows]
    finally:
        transformer.set_attn_implementation(attention.NAME)
    return [output.last_hidden_state[0].float() for output in outputs]


def _name(model: ServedModel) -> str:
    return f"{model.version.model_name} ({type(model.loaded.model).__name__})"
