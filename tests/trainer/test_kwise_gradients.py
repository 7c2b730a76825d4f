"""The packed tree of a question and its answers has the loss and the gradient of expanded pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ranked_groups import RANKS, one_by_one, ragged_groups
from rewardplane.trainer.reward.groups import Group
from rewardplane.trainer.reward.train import accumulate
from rewardplane.trainer.sharding import Trained
from tiny_models import FAMILIES, make_model
from torch import Tensor
from torch.testing import assert_close

from rewardplane.modeling.models import prepare
from rewardplane.modeling.packing import packed_length
from rewardplane.wire import TokenPair


def expanded_loss(model: Any, groups: Sequence[Group]) -> Tensor:
    """Every comparison a forward of its own, as trainers do that know pairs only."""
    means = []
    for group in groups:
        losses = []
        for better, own in enumerate(group.ranks):
            for worse, other in enumerate(group.ranks):
                if own is not None and other is not None and own < other:
                    first, second = one_by_one(model, [group.pairs[better], group.pairs[worse]])
                    losses.append(-F.logsigmoid(first - second))
        if losses:
            means.append(torch.stack(losses).mean())
    return torch.stack(means).mean()


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def relative_difference(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """Norm of the difference of two whole gradients, as a share of the second's norm."""
    assert ours.keys() == expected.keys()
    squared = sum((ours[name] - gradient).square().sum() for name, gradient in expected.items())
    norm = sum(gradient.square().sum() for gradient in expected.values())
    return math.sqrt(squared / norm)


@pytest.mark.parametrize("family", [*FAMILIES])
def test_packed_tree_gives_the_gradient_of_expanded_pairs(family: str) -> None:
    # transformers computes RMSNorm in float32 whatever the model's type; LayerNorm keeps float64.
    exact = family in ("gpt2", "gpt_neox")
    groups = ragged_groups(RANKS)
    model = make_model("reward", family).double()
    loss = expanded_loss(model, groups)
    loss.backward()
    expected = gradients(model)
    prepare(model)
    ours = accumulate(Trained(model), groups, 10_000, "float32")
    assert ours.loss == pytest.approx(loss.item(), rel=1e-12 if exact else 1e-7)
    assert relative_difference(gradients(model), expected) < (1e-12 if exact else 1e-6)


def test_one_token_and_2000_tokens_equal_texts_and_k_of_2_and_9_train_together() -> None:
    rng = np.random.default_rng(4)

    def group(lengths: Sequence[int], ranks: Sequence[int | None], *, alike: bool = False) -> Group:
        question = rng.integers(3, 300, 20, np.int32)
        pairs = [TokenPair(question, rng.integers(3, 300, n, np.int32)) for n in lengths]
        pairs = [pairs[0]] * len(pairs) if alike else pairs
        return Group(tuple(pairs), tuple(ranks), packed_length(pairs))

    groups = [
        group([1, 2000], [0, 1]),
        group([1, 5, 2, 3, 1, 9, 4, 2, 7], [3, 0, None, 1, 8, 2, None, 5, 4]),
        group([6, 6], [0, 1], alike=True),
    ]
    model = make_model("reward", "gpt2", n_positions=2048).double()
    loss = expanded_loss(model, groups)
    loss.backward()
    expected = gradients(model)
    prepare(model)
    assert accumulate(Trained(model), groups, 512, "float32").loss == pytest.approx(loss.item(), rel=1e-12)
    assert relative_difference(gradients(model), expected) < 1e-12


def test_a_question_and_nine_answers_cost_the_question_once() -> None:
    group = ragged_groups([list(range(9))])[0]
    question = len(group.pairs[0].question_ids)
    assert group.num_tokens == question + sum(len(pair.answer_ids) for pair in group.pairs)


@pytest.mark.parametrize("micro_batch_tokens", [1, 60, 150])
def test_micro_batches_of_any_size_give_the_gradient_of_the_batch(micro_batch_tokens: int) -> None:
    groups = ragged_groups((RANKS * 3)[:16])  # with 1 token each question is a micro-batch, with 10,000 all 16 are one
    model = make_model("reward").double()
    prepare(model)
    whole = accumulate(Trained(model), groups, 10_000, "float32")
    expected = gradients(model)
    cut = accumulate(Trained(model), groups, micro_batch_tokens, "float32")
    assert cut.loss == pytest.approx(whole.loss, rel=1e-12)
    assert cut.accuracy == whole.accuracy
    for name, gradient in gradients(model).items():
        assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12)


def test_order_of_questions_and_answers_changes_nothing() -> None:
    groups = ragged_groups(RANKS)
    model = make_model("reward").double()
    prepare(model)
    expected = accumulate(Trained(model), groups, 100, "float32").loss
    expected_gradients = gradients(model)
    turned = [replace(g, pairs=g.pairs[::-1], ranks=g.ranks[::-1]) for g in reversed(groups)]
    assert accumulate(Trained(model), turned, 100, "float32").loss == pytest.approx(expected, rel=1e-12)
    assert relative_difference(gradients(model), expected_gradients) < 1e-6  # RMSNorm computes in float32
