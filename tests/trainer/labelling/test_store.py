"""The store: who is given what, and nothing of it is lost."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rewardplane.trainer.data import BadData, read_ranked
from rewardplane.trainer.labelling import store as store_module
from rewardplane.trainer.labelling.items import Item
from rewardplane.trainer.labelling.ranked_rows import write_rankings
from rewardplane.trainer.labelling.ranking import Assignment, Ranking
from rewardplane.trainer.labelling.store import LabelStore

ANSWERS = ("zero", "one", "two", "three")  # an answer's name is its place in the item

Open = Callable[..., LabelStore]


def items(count: int) -> list[Item]:
    return [Item(f"q{n}", f"Question {n}?", ANSWERS, {"model": "hidden"}) for n in range(count)]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    stores = []

    def open_store(count: int = 3, **settings: int) -> LabelStore:
        stores.append(LabelStore(tmp_path / "labels.sqlite", items(count), **settings))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


def begun(store: LabelStore, ranker: str) -> Assignment:
    assignment = store.next(ranker)
    assert assignment is not None
    return assignment


def by_place(assignment: Assignment) -> list[int]:
    """Ranks that put the answers in the item's own order."""
    return [ANSWERS.index(answer) for answer in assignment.answers]


def test_ranks_come_back_in_the_items_own_order(opened: Open) -> None:
    store = opened(1, seed=1)
    assignment = begun(store, "ann")
    assert assignment.answers != ANSWERS  # with this seed they are shown in another order
    flags = [["nonsense", "harmful"] if answer == "two" else [] for answer in assignment.answers]
    store.submit(assignment, [7 if rank == 3 else rank for rank in by_place(assignment)], flags, 12.5)
    assert store.rankings() == [
        Ranking("q0", "ann", (0, 1, 2, 3), ((), (), ("harmful", "nonsense"), ()), 12.5, cannot_judge=False)
    ]


def test_ties_and_unknown_ranks_are_kept(opened: Open) -> None:
    store = opened(1)
    assignment = begun(store, "ann")
    wanted = {"zero": 5, "one": 2, "two": 5, "three": None}
    store.submit(assignment, [wanted[answer] for answer in assignment.answers])
    assert store.rankings()[0].ranks == (1, 0, 1, None)


def test_an_assignment_shows_nothing_of_where_answers_come_from(opened: Open) -> None:
    assert "hidden" not in repr(begun(opened(), "ann"))


def test_people_see_the_answers_in_different_orders(opened: Open) -> None:
    store = opened(1, per_item=50)
    first = Counter(begun(store, f"ranker {n}").answers[0] for n in range(50))
    assert set(first) == set(ANSWERS)


def test_what_was_begun_is_given_again_with_its_draft(opened: Open) -> None:
    store = opened()
    assignment = begun(store, "ann")
    store.keep_draft(assignment, '{"places": [[2]]}')
    store.close()
    again = begun(opened(), "ann")
    assert (again.id, again.item, again.answers) == (assignment.id, assignment.item, assignment.answers)
    assert again.draft == '{"places": [[2]]}'


@pytest.mark.parametrize("per_item", [1, 2, 3])
def test_every_item_goes_to_that_many_people(opened: Open, per_item: int) -> None:
    store = opened(4, per_item=per_item)
    rankers = ["ann", "bo", "cy"]
    while assignments := [given for ranker in rankers if (given := store.next(ranker))]:
        for assignment in assignments:
            store.submit(assignment, by_place(assignment))
    found = Counter(ranking.item for ranking in store.rankings())
    assert found == dict.fromkeys(("q0", "q1", "q2", "q3"), per_item)
    assert len({(ranking.item, ranking.ranker) for ranking in store.rankings()}) == 4 * per_item


def test_items_that_nobody_has_come_first(opened: Open) -> None:
    store = opened(6, per_item=3)
    for ranker in ("ann", "bo"):
        for _ in range(3):
            assignment = begun(store, ranker)
            store.submit(assignment, by_place(assignment))
    assert set(Counter(ranking.item for ranking in store.rankings()).values()) == {1}


def test_people_at_once_never_exceed_what_was_asked(opened: Open) -> None:
    store = opened(20, per_item=2)

    def work(ranker: str) -> int:
        done = 0
        while assignment := store.next(ranker):
            store.submit(assignment, by_place(assignment))
            done += 1
        return done

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, ["ann", "bo", "cy", "di"]))
    assert sum(done) == 40
    assert set(Counter(ranking.item for ranking in store.rankings()).values()) == {2}


def test_an_item_that_was_left_lying_goes_to_somebody_else(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(1)
    assignment = begun(store, "ann")
    assert store.next("bo") is None
    now = store_module.time.time()
    monkeypatch.setattr(store_module.time, "time", lambda: now + store_module.HELD_S + 1)
    begun(store, "bo")
    store.submit(assignment, by_place(assignment))  # and what ann says after all is kept
    assert [ranking.ranker for ranking in store.rankings()] == ["ann"]


def test_undo_opens_the_newest_ranking_again(opened: Open) -> None:
    store = opened()
    done = [begun(store, "ann")]
    store.keep_draft(done[0], "draft")
    store.submit(done[0], by_place(done[0]))
    waiting = begun(store, "ann")
    again = store.undo("ann")
    assert again is not None
    assert (again.id, again.draft) == (done[0].id, "draft")
    assert store.rankings() == []
    assert begun(store, "ann").id == done[0].id  # before the one that waits
    store.submit(again, by_place(again))
    assert begun(store, "ann").id == waiting.id
    assert store.undo("bo") is None


def test_progress_is_of_one_ranker(opened: Open) -> None:
    store = opened(3, per_item=1)
    first = begun(store, "ann")
    store.submit(first, by_place(first))
    begun(store, "bo")
    assert (store.progress("ann").done, store.progress("ann").left) == (1, 1)
    assert (store.progress("bo").done, store.progress("bo").left) == (0, 2)


def test_only_the_rankers_own_open_assignment_is_found(opened: Open) -> None:
    store = opened()
    assignment = begun(store, "ann")
    assert store.assigned("ann", assignment.id) == assignment
    assert store.assigned("bo", assignment.id) is None
    store.submit(assignment, by_place(assignment))
    assert store.assigned("ann", assignment.id) is None


@pytest.mark.parametrize(
    ("ranks", "flags", "complaint"),
    [
        ([0, 1], None, "has 2 ranks for 4 answers"),
        ([0, None, None, None], None, "ranks fewer than two answers"),
        ([0, 1, 2, 3], [["rude"], [], [], []], "has the flag rude; harmful and nonsense are known"),
        ([0, 1, 2, 3], [[]], "has flags for 1 of 4 answers"),
    ],
)
def test_what_is_no_ranking_is_refused(
    opened: Open, ranks: list[int | None], flags: list[list[str]] | None, complaint: str
) -> None:
    store = opened()
    with pytest.raises(BadData, match=complaint):
        store.submit(begun(store, "ann"), ranks, flags)
    assert store.rankings() == []


def test_what_cannot_be_judged_has_no_ranks_and_no_row(opened: Open, tmp_path: Path) -> None:
    store = opened(2)
    store.submit(begun(store, "ann"), [None] * 4, cannot_judge=True)
    other = begun(store, "ann")
    store.submit(other, by_place(other))
    assert sorted(ranking.cannot_judge for ranking in store.rankings()) == [False, True]
    assert write_rankings(store, tmp_path / "rankings.jsonl") == 1


def test_rows_are_read_as_ranked_answers(opened: Open, tmp_path: Path) -> None:
    store = opened(1, per_item=2)
    for ranker, ranks in (("ann", (0, 1, 2, 2)), ("bo", (3, 0, None, 1))):
        assignment = begun(store, ranker)
        store.submit(assignment, [ranks[own] for own in assignment.order])
    write_rankings(store, tmp_path / "rankings.jsonl")
    found = read_ranked(tmp_path / "rankings.jsonl")
    assert [(row.question, row.answers, row.ranks) for row in found] == [
        ("Question 0?", ANSWERS, (0, 1, 2, 2)),
        ("Question 0?", ANSWERS, (2, 0, None, 1)),
    ]


def test_items_that_were_ranked_must_stay_what_they_are(opened: Open, tmp_path: Path) -> None:
    store = opened(3, seed=0)
    given = begun(store, "ann").item
    store.close()
    changed = [Item(item.id, item.question, ("other", "texts")) for item in items(3)]
    with pytest.raises(BadData, match=f"item {given} has other texts now"):
        LabelStore(tmp_path / "labels.sqlite", changed)
    with pytest.raises(BadData, match=f"item {given} is not among the items any more"):
        LabelStore(tmp_path / "labels.sqlite", [item for item in items(3) if item.id != given])
    assert len(opened(5).items) == 5  # more may come


def test_another_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "labels.sqlite").write_text("no database, but text that is longer than a header of SQLite has to be")
    with pytest.raises(BadData, match="cannot be used as a store of rankings"):
        LabelStore(tmp_path / "labels.sqlite", items(1))


def _rank_until_killed(path: Path, ready: "multiprocessing.queues.Queue[str]") -> None:
    store = LabelStore(path, items(3))
    first = begun(store, "ann")
    store.submit(first, by_place(first))
    second = begun(store, "ann")
    store.keep_draft(second, "half done")
    ready.put(second.item)
    signal.pause()


def test_a_killed_process_loses_nothing(opened: Open, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Queue()
    process = context.Process(target=_rank_until_killed, args=(tmp_path / "labels.sqlite", ready))
    process.start()
    item = ready.get(timeout=60)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    store = opened()
    assert len(store.rankings()) == 1
    assert (begun(store, "ann").item, begun(store, "ann").draft) == (item, "half done")
