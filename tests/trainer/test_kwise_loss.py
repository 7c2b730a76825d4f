"""The K-wise reward-model loss against TRL's pairwise one on expanded pairs, and against arithmetic."""

import itertools
import math
from typing import Any

import pytest
import torch
from rewardplane.trainer.reward.loss import kwise_loss
from torch.testing import assert_close

Ranks = list[int | None]


def loss_of(scores: list[float], ranks: list[Ranks]) -> float:
    return kwise_loss(torch.tensor(scores), ranks)[0].item()


def test_loss_and_gradient_equal_trl_on_expanded_pairs(golden: dict[str, Any]) -> None:
    expected = golden["kwise"]
    flat = list(itertools.chain.from_iterable(expected["scores"]))
    scores = torch.tensor(flat, requires_grad=True)
    loss, num_groups = kwise_loss(scores, expected["ranks"])
    loss.backward()
    assert loss.shape == ()
    assert_close(loss.item(), expected["loss"], rtol=1e-5, atol=1e-6)
    assert num_groups == expected["num_groups"]
    assert scores.grad is not None
    assert_close(scores.grad, torch.tensor(list(itertools.chain.from_iterable(expected["grad"]))))


def test_one_pair_by_hand() -> None:
    # -log sigmoid(1 - 0) = ln(1 + e^-1) = 0.313262; the wrong way round ln(1 + e) = 1.313262
    assert loss_of([1.0, 0.0], [[0, 1]]) == pytest.approx(0.313262, rel=1e-5)
    assert loss_of([1.0, 0.0], [[1, 0]]) == pytest.approx(1.313262, rel=1e-5)


@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_loss_is_the_mean_over_all_k_choose_2_pairs(k: int) -> None:
    scores = [math.sin(3.0 * i) for i in range(k)]
    pairs = list(itertools.combinations(scores, 2))  # the earlier answer is the better one
    expected = sum(math.log1p(math.exp(worse - better)) for better, worse in pairs) / math.comb(k, 2)
    assert loss_of(scores, [list(range(k))]) == pytest.approx(expected, rel=1e-5)


def test_gradient_of_nine_equal_scores() -> None:
    # sigmoid(0) = 1/2 in each of 36 pairs: an answer that wins w and loses l of its 8 gets (l - w) / 2 / 36.
    scores = torch.zeros(9, requires_grad=True)
    loss, _ = kwise_loss(scores, [list(range(9))])
    loss.backward()
    assert scores.grad is not None
    assert_close(loss.item(), math.log(2), rtol=1e-5, atol=1e-6)
    assert_close(scores.grad, torch.tensor([(rank - (8 - rank)) / 72 for rank in range(9)]))


def test_questions_count_the_same_however_many_answers_they_have() -> None:
    # One pair at ln(1 + e^-1) = 0.313262 and six pairs at ln 2 = 0.693147: the mean of questions is 0.503204,
    # the mean of pairs would be 0.638878.
    loss = loss_of([1.0, 0.0, 5.0, 5.0, 5.0, 5.0], [[0, 1], [0, 1, 2, 3]])
    assert loss == pytest.approx(0.503204, rel=1e-5)


def test_ties_are_dropped_and_the_rest_is_averaged() -> None:
    # The untied pairs have the scores (2, 0) and (1, 0): (ln(1 + e^-2) + ln(1 + e^-1)) / 2 = 0.220095
    assert loss_of([2.0, 1.0, 0.0], [[0, 0, 1]]) == pytest.approx(0.220095, rel=1e-5)


def test_answers_without_a_rank_are_dropped() -> None:
    scores = torch.tensor([1.0, 40.0, 0.0], requires_grad=True)
    loss, num_groups = kwise_loss(scores, [[0, None, 1]])
    loss.backward()
    assert loss.item() == pytest.approx(0.313262, rel=1e-5)
    assert num_groups == 1
    assert scores.grad is not None
    assert scores.grad[1] == 0.0


def test_only_the_order_of_ranks_counts() -> None:
    scores = [0.3, -0.2, 0.9]
    assert loss_of(scores, [[2, 9, 40]]) == loss_of(scores, [[0, 1, 2]])


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_order_of_the_answers_changes_nothing(order: tuple[int, ...]) -> None:
    scores, ranks = [0.1, 0.9, -1.1, 0.4], [2, 0, 3, 2]
    shuffled = loss_of([scores[i] for i in order], [[ranks[i] for i in order]])
    assert shuffled == pytest.approx(loss_of(scores, [[2, 0, 3, 2]]), rel=1e-5)


def test_order_of_the_questions_changes_nothing(golden: dict[str, Any]) -> None:
    questions = list(zip(golden["kwise"]["scores"], golden["kwise"]["ranks"], strict=True))
    for turn in range(len(questions)):
        scores, ranks = zip(*(questions[turn:] + questions[:turn]), strict=True)
        loss = loss_of(list(itertools.chain.from_iterable(scores)), list(ranks))
        assert loss == pytest.approx(golden["kwise"]["loss"], rel=1e-5)


def test_questions_without_a_pair_are_skipped_and_not_counted() -> None:
    # All tied; a single answer; one known rank; nothing known. The pair that is left is ln(1 + e^-1).
    ranks: list[Ranks] = [[3, 3, 3], [0], [0, 1], [0, None], [None, None]]
    loss, num_groups = kwise_loss(torch.tensor([9.0, 8.0, 7.0, 6.0, 1.0, 0.0, 5.0, 4.0, 3.0, 2.0]), ranks)
    assert loss.item() == pytest.approx(0.313262, rel=1e-5)
    assert num_groups == 1


def test_no_pair_at_all_gives_a_zero_that_can_be_stepped_on() -> None:
    scores = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    loss, num_groups = kwise_loss(scores, [[0, 0], [None]])
    loss.backward()
    assert (loss.item(), num_groups) == (0.0, 0)
    assert scores.grad is not None
    assert scores.grad.tolist() == [0.0, 0.0, 0.0]


def test_micro_batches_weighted_by_their_groups_add_up_to_the_batch(golden: dict[str, Any]) -> None:
    total, groups = 0.0, 0
    for scores, ranks in zip(golden["kwise"]["scores"], golden["kwise"]["ranks"], strict=True):
        loss, num_groups = kwise_loss(torch.tensor(scores), [ranks])
        total, groups = total + loss.item() * num_groups, groups + num_groups
    assert groups == 4
    assert total / groups == pytest.approx(golden["kwise"]["loss"], rel=1e-5)


def test_a_constant_added_to_the_scores_of_a_question_changes_nothing() -> None:
    loss = loss_of([0.5, -0.5, 0.25, 1.25], [[0, 1], [1, 0]])
    assert loss_of([8.5, 7.5, -3.75, -2.75], [[0, 1], [1, 0]]) == pytest.approx(loss, rel=1e-5)


def test_a_hopelessly_wrong_pair_stays_finite() -> None:
    # sigmoid(-200) is 0 in float32 and its logarithm infinite; -log sigmoid(-200) is 200.
    scores = torch.tensor([-100.0, 100.0], requires_grad=True)
    loss, _ = kwise_loss(scores, [[0, 1]])
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    assert scores.grad is not None
    assert scores.grad.tolist() == pytest.approx([-1.0, 1.0])
