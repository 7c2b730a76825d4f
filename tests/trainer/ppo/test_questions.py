"""The order of questions: a function of the seed and the number of the batch, and of nothing else."""

from collections import Counter

import pytest
from rewardplane.trainer.ppo.questions import Shuffled

ITEMS = list("abcdefg")  # 7 of them: batches of 3 run across the ends of passes


def first(shuffled: Shuffled[str], batches: int, size: int = 3) -> list[str]:
    return [item for number in range(batches) for item in shuffled.batch(number, size)]


def test_every_item_comes_once_a_pass() -> None:
    drawn = first(Shuffled(ITEMS, seed=3, stream=10), batches=14)  # 42 draws: 6 passes
    for start in range(0, 42, 7):
        assert sorted(drawn[start : start + 7]) == ITEMS


def test_each_pass_has_an_order_of_its_own() -> None:
    drawn = first(Shuffled(ITEMS, seed=3, stream=10), batches=14)
    # 6 of 5040 orders: that two are equal by chance has probability 0.003, and the seed is fixed.
    assert len({tuple(drawn[start : start + 7]) for start in range(0, 42, 7)}) == 6


def test_a_batch_does_not_depend_on_what_was_drawn_before() -> None:
    in_order = Shuffled(ITEMS, seed=3, stream=10)
    batches = [in_order.batch(number, 3) for number in range(10)]
    backwards = Shuffled(ITEMS, seed=3, stream=10)
    assert [backwards.batch(number, 3) for number in reversed(range(10))] == batches[::-1]
    assert Shuffled(ITEMS, seed=3, stream=10).batch(7, 3) == batches[7]  # a resumed run starts here


def test_a_batch_may_hold_several_passes() -> None:
    assert Counter(Shuffled(ITEMS, seed=0, stream=10).batch(1, 14)) == Counter(ITEMS * 2)


@pytest.mark.parametrize("other", [{"seed": 4, "stream": 10}, {"seed": 3, "stream": 11}])
def test_seeds_and_streams_have_different_orders(other: dict[str, int]) -> None:
    assert first(Shuffled(ITEMS, **other), batches=14) != first(Shuffled(ITEMS, seed=3, stream=10), batches=14)


def test_batches_of_any_size_cut_one_sequence() -> None:
    shuffled = Shuffled(ITEMS, seed=5, stream=10)
    assert first(shuffled, batches=6, size=4) == first(shuffled, batches=3, size=8)


def test_nothing_to_draw_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to draw from"):
        Shuffled([], seed=0, stream=10)
