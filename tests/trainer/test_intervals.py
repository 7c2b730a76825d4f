"""Means over questions and what the bootstrap says about them."""

import numpy as np
import pytest
from rewardplane.trainer.intervals import BLOCK, estimate


def test_an_interval_of_independent_questions_is_the_binomial_one() -> None:
    right = np.arange(400) % 10 < 7
    found = estimate(right, np.ones(400))
    assert found is not None
    half_width = 1.96 * np.sqrt(0.7 * 0.3 / 400)  # of the normal approximation: 0.0449
    assert (found.value, found.count, found.questions) == (0.7, 400, 400)
    assert found.high - found.value == pytest.approx(half_width, rel=0.15)
    assert found.value - found.low == pytest.approx(half_width, rel=0.15)


def test_pairs_that_a_question_repeats_make_nothing_more_certain() -> None:
    right = np.arange(400) % 10 < 7
    once, often = estimate(right, np.ones(400)), estimate(36 * right, np.full(400, 36))
    assert once is not None
    assert often is not None
    assert (often.low, often.high) == (once.low, once.high)
    assert (often.count, often.questions) == (36 * 400, 400)


def test_questions_without_pairs_change_nothing() -> None:
    right, counts = np.arange(40) % 3, np.full(40, 2)
    padded = estimate(np.append(right, np.zeros(60)), np.append(counts, np.zeros(60)))
    assert padded == estimate(right, counts)
    assert estimate([0, 0], [0, 0]) is None
    assert estimate([], []) is None


def test_blocks_of_draws_are_all_taken() -> None:
    n = BLOCK // 3  # three resamples a block
    found = estimate(np.arange(n) % 2, np.ones(n), resamples=8)
    assert found is not None
    assert found.low < 0.5 < found.high


def test_the_interval_is_that_of_the_mean_over_pairs() -> None:
    # Ten questions with one pair, right, and ten with nine, wrong: 10 of 100 pairs, whatever half of the questions is.
    found = estimate(np.repeat([1, 0], 10), np.repeat([1, 9], 10))
    assert found is not None
    assert found.value == 0.1
    assert 0.03 < found.low < 0.1 < found.high < 0.3
