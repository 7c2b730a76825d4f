"""Whose turn it is, when several identities want the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewardplane.services.common.access import Caller
from rewardplane.services.common.fair_queue import has_room
from rewardplane.services.common.pair_queue import Entry, PairQueue

from rewardplane.wire import TokenPair

QUIET, FLOOD = Caller("quiet"), Caller("flood")
serial = iter(range(1 << 20))


def entry(caller: Caller, tokens: int = 10, question: int | None = None) -> Entry:
    """Of `tokens` tokens, with a question of its own unless one is given."""
    number = next(serial) if question is None else question
    pair = TokenPair(np.full(tokens - 1, number, np.int32), np.array([1], np.int32))
    return Entry(pair, 1.0, float("inf"), 0.0, 0, lambda index, result: None, caller)


def fill(queue: PairQueue, caller: Caller, n: int, tokens: int = 10) -> None:
    for _ in range(n):
        queue.add(entry(caller, tokens))


def names(queue: PairQueue, max_tokens: int) -> list[str]:
    return [each.caller.name for each in queue.take(max_tokens, 0.0)[0]]


@given(st.lists(st.tuples(st.integers(2, 30), st.integers(0, 5)), min_size=1, max_size=60))
def test_with_one_caller_the_order_is_that_of_arrival_with_siblings(drawn: list[tuple[int, int]]) -> None:
    queue = PairQueue("question")
    entries = [entry(QUIET, tokens, question) for tokens, question in drawn]
    for each in entries:
        queue.add(each)
    expected: list[Entry] = []
    for oldest in entries:
        if oldest not in expected:
            expected += [each for each in entries if each.question == oldest.question]
    assert list(queue.in_turn(lambda each: queue._by_question[each.question])) == expected


def test_whoever_comes_is_in_the_next_batch_however_much_waits() -> None:
    queue = PairQueue("question")
    fill(queue, FLOOD, 1000)
    for _ in range(5):
        names(queue, 100)
    fill(queue, QUIET, 3)
    assert names(queue, 100)[:3] == ["quiet"] * 3


def test_callers_share_by_weight() -> None:
    queue = PairQueue("question")
    heavy, light = Caller("heavy", weight=3.0), Caller("light", weight=1.0)
    fill(queue, light, 400)
    fill(queue, heavy, 200, tokens=20)
    tokens = Counter[str]()
    for _ in range(20):
        for name in names(queue, 120):
            tokens[name] += 20 if name == "heavy" else 10
    assert tokens["heavy"] / tokens["light"] == pytest.approx(3.0, rel=0.05)


def test_who_was_away_has_saved_up_nothing() -> None:
    queue = PairQueue("question")
    fill(queue, QUIET, 1)
    fill(queue, FLOOD, 1000)
    for _ in range(20):
        names(queue, 100)
    fill(queue, QUIET, 100)
    shares = Counter(name for _ in range(6) for name in names(queue, 100))
    # It comes as one batch of the flood is under way, has the next one, and half of the 50 pairs after it.
    assert shares["quiet"] == pytest.approx(35, abs=1)


def test_pairs_with_the_same_question_come_along_and_are_paid_for_by_their_own() -> None:
    queue = PairQueue("question")
    with_it = [entry(FLOOD, 21, question=-7) for _ in range(4)]
    asked = entry(QUIET, 21, question=-7)
    fill(queue, FLOOD, 3, tokens=30)
    for each in (*with_it, asked):
        queue.add(each)
    batch, _ = queue.take(25, 0.0)
    assert {each.caller.name for each in batch} == {"flood"}  # it came first
    batch, _ = queue.take(25, 0.0)
    assert set(batch) == {asked, *with_it}  # 20 for the question, 1 for each answer
    fill(queue, QUIET, 2, tokens=30)
    # The flood has had 30 and then its 4 answers; the quiet one, which came later, 20 + 1.
    assert names(queue, 60)[0] == "quiet"


def test_priority_goes_first_and_starves_nobody() -> None:
    queue = PairQueue("question")
    trainer = Caller("trainer", first=True)
    fill(queue, QUIET, 100)
    fill(queue, trainer, 200)
    batches = [names(queue, 50) for _ in range(12)]
    leaders = [batch[0] for batch in batches]
    assert leaders == (["trainer"] * 3 + ["quiet"]) * 3
    assert all(set(batch) == {batch[0]} for batch in batches)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 40)), min_size=1, max_size=60), st.integers(1, 64))
def test_every_pair_of_every_caller_leaves_the_queue_once(drawn: list[tuple[str, int]], budget: int) -> None:
    callers = {"a": Caller("a"), "b": Caller("b", weight=0.1), "c": Caller("c", first=True)}
    queue = PairQueue("question")
    entries = [entry(callers[name], tokens) for name, tokens in drawn]
    for each in entries:
        queue.add(each)
    taken: list[Entry] = []
    while queue:
        taken += queue.take(budget, 0.0)[0]
    assert len(taken) == len(entries)
    assert set(taken) == set(entries)
    assert queue.tokens == 0
    assert all(queue.tokens_of(caller) == 0 for caller in callers.values())


def floods_level(floods: int, limit: int) -> Iterator[int]:
    """What each flood holds when none gets another pair of 10 tokens in."""
    held = [0] * floods
    while True:
        queued = sum(held)
        going = [i for i in range(floods) if has_room(10, own=held[i], queued=queued, limit=limit, shared=True)]
        if not going:
            yield from held
            return
        held[min(going, key=held.__getitem__)] += 10


def test_floods_leave_room_for_whoever_comes() -> None:
    for floods in (1, 2, 4):
        held = sum(floods_level(floods, 1000))
        assert 1000 - held == pytest.approx(1000 / (floods + 1), abs=10)
        assert has_room(100, own=0, queued=held, limit=1000, shared=True)


def test_a_queue_that_is_not_shared_may_be_filled_by_one() -> None:
    assert has_room(10, own=990, queued=990, limit=1000, shared=False)
    assert not has_room(11, own=990, queued=990, limit=1000, shared=False)
    assert has_room(5000, own=0, queued=0, limit=1000, shared=False)
