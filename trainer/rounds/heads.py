"""A small ensemble: bootstrap heads on the frozen trunk of one reward model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.models import Loaded, load_reward_model, score_head
from rewardplane.modeling.packing import pack
from rewardplane.modeling.padded import is_encoder

from ..batches import by_tokens
from ..config import ConfigError
from ..data import RankedAnswers
from ..rankings.ranked import Ranks
from ..reward.groups import Group, encode_groups
from ..reward.loss import kwise_loss

MICRO_BATCH_TOKENS = 4096
STEPS = 100
PULL = 0.01
"""Weight of the squared distance from the reward model's own head: few rankings do not decide many weights."""


def head_scores(
    model: Path, learnt: Sequence[RankedAnswers], asked: Sequence[RankedAnswers], heads: int, seed: int
) -> list[NDArray[np.float32]]:  # [heads, K] each
    """Scores of the answers in `asked` under heads that each learnt a resample of the questions in `learnt`.

    Raises ConfigError for an encoder, whose head is not linear in its states.
    """
    loaded = load_reward_model(model, torch.float32)
    if is_encoder(loaded.model.config):
        raise ConfigError('sample.choice = "disagreement" needs a reward model with a linear head; choose "margin"')
    states = _states(loaded, learnt)
    own = score_head(loaded.model).weight.detach()[0]
    fitted = torch.stack(
        [fit_head(states, [row.ranks for row in learnt], own, [seed, head]) for head in range(heads)]
    )  # [heads, d]
    return [(fitted @ state.T).numpy() for state in _states(loaded, asked)]


def fit_head(
    states: Sequence[Tensor],  # [K, d] each
    ranks: Sequence[Ranks],  # [K] each
    own: Tensor,  # [d]  where the head begins, and what it is pulled to
    seed: Sequence[int],
) -> Tensor:  # [d]
    """The head with the lowest K-wise loss on a resample of the questions."""
    rng = np.random.default_rng(list(seed))
    drawn = rng.integers(len(states), size=len(states))
    features, chosen = torch.cat([states[i] for i in drawn]), [ranks[i] for i in drawn]
    head = own.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([head], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = kwise_loss(features @ head, chosen)[0] + PULL * (head - own).square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return head.detach()


@torch.no_grad()
def _states(loaded: Loaded, rows: Sequence[RankedAnswers]) -> list[Tensor]:  # [K, d] each
    """What the head reads: the last hidden state of every answer."""
    groups, _ = encode_groups(rows, loaded.encoder, loaded.max_pair_tokens)
    found: list[Tensor] = []
    for places in by_tokens(range(len(groups)), [group.num_tokens for group in groups], MICRO_BATCH_TOKENS):
        found += _group_states(loaded, [groups[i] for i in places])
    return found


def _group_states(loaded: Loaded, groups: Sequence[Group]) -> Sequence[Tensor]:
    packed = pack([pair for group in groups for pair in group.pairs]).to(loaded.model.device)
    hidden = packed_hidden(loaded.model.base_model, packed, only=packed.score_rows)[packed.last_index]
    states: Sequence[Tensor] = hidden.cpu().split([len(group.pairs) for group in groups])
    return states
