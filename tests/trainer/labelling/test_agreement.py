"""Agreement: against scipy, and numbers that can be worked out by hand."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from rewardplane.trainer.labelling.agreement import kendall_w, mean_kendall_w, mid_ranks, pairwise_agreement
from rewardplane.trainer.labelling.items import Item
from rewardplane.trainer.labelling.overview import overview
from rewardplane.trainer.labelling.ranking import Ranking
from rewardplane.trainer.labelling.store import LabelStore
from scipy.stats import friedmanchisquare, rankdata, spearmanr


def test_kendalls_w_is_one_in_one_order_and_zero_in_opposite_ones() -> None:
    assert kendall_w([[0, 1, 2, 3]] * 3) == 1
    assert kendall_w([[0, 1, 2, 3], [3, 2, 1, 0]]) == 0
    assert kendall_w([[0, 0, 1, 1]] * 2) == 1
    assert np.isnan(kendall_w([[0, 0, 0]] * 2))


def test_kendalls_w_of_ties_worked_out_by_hand() -> None:
    # Places 1.5 1.5 3 and 1 2.5 2.5: sums 2.5 4 5.5, S = 2.25 + 0 + 2.25 = 4.5, T = 6 + 6;
    # W = 12 * 4.5 / (2^2 * (27 - 3) - 2 * 12) = 54 / 72.
    assert kendall_w([[0, 0, 1], [0, 1, 1]]) == pytest.approx(0.75)


@pytest.mark.parametrize("seed", range(5))
def test_kendalls_w_is_friedmans_statistic_and_spearmans_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people, answers = 4, 6
    tied = rng.integers(0, 4, size=(people, answers))
    chi_square = friedmanchisquare(*tied.T).statistic  # W = chi^2 / (M (K - 1)), with the same correction for ties
    assert kendall_w(tied) == pytest.approx(chi_square / (people * (answers - 1)))
    strict = np.array([rng.permutation(answers) for _ in range(people)])
    rho = np.mean([spearmanr(one, other).statistic for one, other in combinations(strict, 2)])
    assert kendall_w(strict) == pytest.approx((rho * (people - 1) + 1) / people)


def test_tied_answers_share_the_mean_of_their_places() -> None:
    ranks = np.array([[2.0, 0, 2, 5, 2, 0]])
    assert mid_ranks(ranks) == pytest.approx(rankdata(ranks, axis=1))


def test_pairs_count_where_two_people_both_prefer_one() -> None:
    # ann and bo: (0,1) the same, (0,2) opposite, (1,2) opposite; cy ties 0 and 1, does not know 2.
    found = pairwise_agreement([[(0, 1, 2), (1, 2, 0), (0, 0, None)]])
    assert found is not None
    assert (found.value, found.count) == (pytest.approx(1 / 3), 3)


def test_w_is_taken_over_the_answers_that_all_ranked() -> None:
    found = mean_kendall_w([[(0, 1, 2, None), (0, 1, 2, 3)], [(0, 1), (1, 0)], [(0, None), (None, 0)], [(0, 1)]])
    assert found is not None
    assert (found.value, found.questions) == (0.5, 2)  # 1 and 0; nothing to say of the others
    assert mean_kendall_w([]) is None


def test_the_overview_counts_rankings_flags_and_seconds(tmp_path: Path) -> None:
    items = [Item("q1", "Q?", ("a", "b")), Item("q2", "Q?", ("a", "b", "c")), Item("q3", "Q?", ("a", "b"))]
    with LabelStore(tmp_path / "labels.sqlite", items, per_item=2) as store:
        store.add(Ranking("q1", "ann", (0, 1), (("harmful",), ()), 10, cannot_judge=False))
        store.add(Ranking("q1", "bo", (0, 1), (("harmful", "nonsense"), ()), 20, cannot_judge=False))
        store.add(Ranking("q2", "ann", (0, 1, 1), ((), (), ()), 60, cannot_judge=False))
        store.add(Ranking("q3", "ann", (None, None), ((), ()), 5, cannot_judge=True))
        found = overview(store, ["ann", "bo", "cy"])
    assert (found.rankings, found.wanted, found.complete, found.cannot_judge) == (4, 6, 1, 1)
    assert found.flags == {"harmful": 1, "nonsense": 1}
    assert [(pace.answers, pace.rankings, pace.median_seconds) for pace in found.pace] == [(2, 2, 15), (3, 1, 60)]
    assert [(part.name, part.done, part.left) for part in found.rankers] == [("ann", 3, 0), ("bo", 1, 2), ("cy", 0, 2)]
    assert found.kendall_w is not None
    assert (found.kendall_w.value, found.people_per_shared_item) == (1, 2)
