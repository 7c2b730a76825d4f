"""What an evaluation measures, against arithmetic by hand and against scipy."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from rewardplane.trainer.data import BadData, RankedAnswers
from rewardplane.trainer.evaluation.calibration import calibrate
from rewardplane.trainer.evaluation.pairs import pair_table
from rewardplane.trainer.evaluation.ranking import kendall_tau_b, mean_tau_b, top_1, top_1_chance
from rewardplane.trainer.evaluation.report import RewardReport, measure
from rewardplane.trainer.evaluation.scoring import Scored
from rewardplane.trainer.reward.groups import Losses

Ranks = Sequence[int | None]


def scored(*questions: tuple[Ranks, Sequence[float]], lengths: Sequence[int] = (), source: str = "") -> Scored:
    """Answers of the given lengths, else of one letter each."""
    rows = []
    for ranks, _ in questions:
        answers = tuple("x" * (lengths[i] if lengths else 1) for i in range(len(ranks)))
        rows.append(RankedAnswers("Q", answers, tuple(ranks), source=source))
    scores = tuple(np.array(own, np.float32) for _, own in questions)
    return Scored(tuple(rows), scores, "model", "d" * 64, Losses(0, 0))


def report(*questions: tuple[Ranks, Sequence[float]], lengths: Sequence[int] = ()) -> RewardReport:
    return measure(scored(*questions, lengths=lengths), ["file"], "here")


def test_accuracy_counts_pairs_with_different_known_ranks() -> None:
    # (0, 1): 3 > 2, right. (0, 3) and (1, 3): 3 > 2 right, 2 = 2 one half. The unknown and the tied pair do not count.
    found = report(([0, 1, None, 2], [3, 2, 9, 2]), ([1, 1], [0, 5]))
    assert (found.accuracy.value, found.accuracy.count, found.accuracy.questions) == (2.5 / 3, 3, 1)
    assert (found.questions, found.answers, found.questions_without_pair) == (2, 6, 1)


def test_the_length_baseline_ranks_by_characters() -> None:
    # Lengths 5, 7, 5. Pairs (0,1): 5 < 7, wrong; (0,2): equal, one half; (1,2): 7 > 5, right.
    found = report(([0, 1, 2], [3, 2, 1]), lengths=[5, 7, 5])
    assert found.length_baseline.value == 0.5
    assert found.accuracy.value == 1.0
    # Ratios 7/5, 1 and 7/5: one pair in 1-1.25 and two in 1.25-1.5, one of which has the longer answer better.
    assert [(part.low, part.high, part.accuracy.count) for part in found.by_length] == [(1, 1.25, 1), (1.25, 1.5, 2)]
    same, other = found.by_length
    assert (same.better_longer, same.better_shorter) == (None, None)
    assert other.better_longer is not None
    assert other.better_longer.count == 1
    assert other.length_baseline.value == 0.5


def test_kendall_tau_b_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for k in (2, 3, 4, 9, 30):
        for _ in range(20):
            x, y = rng.integers(0, k, k), rng.integers(0, 4, k)
            assert kendall_tau_b(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12, nan_ok=True)


def test_mean_tau_leaves_out_questions_without_order_and_counts_flat_scores_0() -> None:
    # 1, 1, flat scores 0; the tied and the unknown question do not count.
    ranks: list[Ranks] = [[0, 1, None], [1, 0], [0, 1], [2, 2], [None, 0]]
    scores = [np.array(own, np.float32) for own in ([2, 1, 9], [1, 2], [1, 1], [1, 2], [1, 2])]
    found = mean_tau_b(scores, ranks)
    assert found is not None
    assert (found.value, found.count) == (2 / 3, 3)


def test_top_1_shares_the_point_between_equal_scores() -> None:
    # Right; wrong; two highest of which one is best; the unknown answer's high score does not count: right.
    ranks: list[Ranks] = [[0, 1, 2], [0, 1], [1, 0, 2], [0, None, 1]]
    scores = [np.array(own, np.float32) for own in ([3, 2, 1], [1, 2], [5, 5, 0], [2, 9, 1])]
    found = top_1(scores, ranks)
    assert found is not None
    assert found.value == (1 + 0 + 0.5 + 1) / 4
    assert top_1_chance(scores, ranks) == (1 / 3 + 1 / 2 + 1 / 3 + 1 / 2) / 4
    tied = top_1_chance([np.zeros(4, np.float32)], [[0, 0, 1, 2]])
    assert tied == 0.5  # two of four are best


def test_calibration_of_confidences_with_known_frequencies() -> None:
    # sigmoid(ln 3) = 0.75: right in 60 of 100 pairs. sigmoid(ln 19) = 0.95: right in 95 of 100.
    margins = np.repeat([math.log(3), -math.log(3), math.log(19), -math.log(19)], [60, 40, 95, 5])
    found = calibrate(margins)
    low, high = found.bins
    assert (low.pairs, low.accuracy, high.accuracy) == (100, 0.6, 0.95)
    assert low.low <= 0.75 <= low.high
    assert low.confidence == pytest.approx(0.75)
    assert found.expected_error == pytest.approx((0.15 + 0.0) / 2)


def test_extreme_and_equal_scores_have_bins() -> None:
    found = calibrate(np.array([0.0, 1e9, -1e9]))
    assert [(one.pairs, one.confidence, one.accuracy) for one in found.bins] == [(1, 0.5, 0.5), (2, 1.0, 0.5)]


def test_the_loss_is_that_of_the_paper() -> None:
    # Question 1: one pair, margin 0: ln 2. Question 2: margins 1, 2, 1; its mean.
    second = -sum(math.log(1 / (1 + math.exp(-margin))) for margin in (1, 2, 1)) / 3
    found = report(([0, 1], [1, 1]), ([0, 1, 2], [3, 2, 1]))
    assert found.loss == pytest.approx((math.log(2) + second) / 2, abs=1e-12)


def test_parts_by_k_and_by_source_add_up() -> None:
    three, two = ([0, 1, 2], [3.0, 2, 1]), ([0, 1], [1.0, 2])
    one, other = scored(three, two, source="b"), scored(two, source="a")
    both = Scored(one.rows + other.rows, one.scores + other.scores, "m", "d", Losses(1, 2))
    found = measure(both, ["x", "y"], "here")
    assert [(part.name, part.accuracy.value, part.accuracy.count) for part in found.by_k] == [("2", 0, 2), ("3", 1, 3)]
    assert [(part.name, part.accuracy.value, part.accuracy.count) for part in found.by_source] == [
        ("a", 0, 1), ("b", 0.75, 4),
    ]  # fmt: skip
    assert (found.cut_questions, found.dropped_answers) == (1, 2)


def test_the_histogram_holds_every_answer_once() -> None:
    found = report(([0, 1, 2], [3, 2, 1]), ([0, 0, None], [5, 5, 5])).histogram
    assert (sum(found.best), sum(found.others)) == (3, 3)
    assert (found.edges[0], found.edges[-1]) == (1.0, 5.0)
    assert found.best[-1] == 2
    assert found.others[0] == 1


def test_shuffled_ranks_give_one_half_and_flipped_ones_the_rest() -> None:
    rng = np.random.default_rng(1)
    questions = [(list(range(k)), list(-np.arange(k) + rng.normal(0, 2, k))) for k in rng.integers(2, 10, 300)]
    found = report(*questions)
    flipped = report(*[([len(ranks) - 1 - rank for rank in ranks], scores) for ranks, scores in questions])
    assert found.accuracy.low > 0.6
    assert flipped.accuracy.value == pytest.approx(1 - found.accuracy.value, abs=1e-12)
    assert flipped.accuracy.low == pytest.approx(1 - found.accuracy.high, abs=1e-12)
    assert flipped.kendall_tau_b.value == pytest.approx(-found.kendall_tau_b.value, abs=1e-12)
    assert found.shuffled_control.low < 0.5 < found.shuffled_control.high
    assert found.shuffled_control.count == found.accuracy.count


def test_a_file_without_an_order_is_refused() -> None:
    with pytest.raises(BadData, match="file: no question has two answers with different ranks"):
        report(([1, 1], [0, 1]), ([None, 0], [1, 2]))


def test_pairs_say_who_is_longer() -> None:
    pairs = pair_table(scored(([1, 0], [1.0, 3.0]), lengths=[8, 2]).rows, [np.array([1, 3], np.float32)])
    assert (len(pairs), pairs.margin[0], pairs.longer[0], pairs.length_ratio[0]) == (1, 2.0, -6.0, 4.0)
