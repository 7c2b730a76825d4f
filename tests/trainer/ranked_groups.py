"""Random ranked answers, and transformers' own score of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from rewardplane.trainer.reward.groups import Group
from torch import Tensor

from rewardplane.modeling.packing import packed_length
from rewardplane.wire import TokenPair


def ragged_groups(ranks: Sequence[Sequence[int | None]], seed: int = 3) -> list[Group]:
    """Random ids: questions of 20 or more tokens, so that trees share them; answers of 1 to 12 tokens."""
    rng = np.random.default_rng(seed)
    groups = []
    for own in ranks:
        question = rng.integers(3, 300, rng.integers(20, 30), np.int32)
        pairs = tuple(TokenPair(question, rng.integers(3, 300, rng.integers(1, 13), np.int32)) for _ in own)
        groups.append(Group(pairs, tuple(own), packed_length(pairs)))
    return groups


RANKS: list[list[int | None]] = [[0, 1], list(range(9)), [2, 0, None, 1], [1, 1, 0], [5, 5], [0, None]]


def one_by_one(model: Any, pairs: Sequence[TokenPair]) -> Tensor:  # [n]
    """transformers' own classifier, a row at a time: nothing packed, shared or padded."""
    rows = [np.concatenate([pair.question_ids, pair.answer_ids]).astype(np.int64) for pair in pairs]
    return torch.cat([model(input_ids=torch.from_numpy(row)[None]).logits[0] for row in rows])
