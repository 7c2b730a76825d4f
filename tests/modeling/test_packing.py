"""The layout of packed rows: what is stored once, what it costs, and that it can be read back."""

from __future__ import annotations

from itertools import chain
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rewardplane.modeling.forest import seen_by
from rewardplane.modeling.packing import PackedPairs, pack, packed_length
from rewardplane.modeling.varlen import varlen_layout
from rewardplane.wire import TokenPair

Ids = list[int]

# Few different tokens, so that questions and answers often begin alike.
_IDS = st.lists(st.integers(0, 2), min_size=1, max_size=9)
_QUESTIONS = st.lists(_IDS, min_size=1, max_size=4)
BATCHES = _QUESTIONS.flatmap(lambda qs: st.lists(st.tuples(st.sampled_from(qs), _IDS), min_size=1, max_size=9))


def pairs_of(batch: list[tuple[Ids, Ids]]) -> list[TokenPair]:
    return [TokenPair(question, answer) for question, answer in batch]


def run(start: int, length: int) -> Ids:
    return list(range(start, start + length))


def rows_until(packed: PackedPairs, row: int) -> NDArray[np.int64]:
    """The rows that a sequence runs through up to `row`, by the segments alone."""
    last = next(s for s in packed.segments if s.start <= row < s.start + s.length)
    above = [packed.segments[number] for number in last.ancestors]
    return np.concatenate([*(np.arange(s.start, s.start + s.length) for s in above), np.arange(last.start, row + 1)])


def read(packed: PackedPairs, row: int) -> Ids:
    return packed.input_ids[rows_until(packed, row)].tolist()


@settings(max_examples=150, deadline=None)
@given(batch=BATCHES, share=st.sampled_from(["question", "prefix"]))
@example(batch=[([1, 2, 3], [4, 5]), ([1, 2, 3], [4, 5, 6, 7]), ([1, 2, 3], [4, 5, 6, 7, 8, 9])], share="prefix")
def test_every_row_attends_once_and_to_its_sequence(
    batch: list[tuple[Ids, Ids]], share: Literal["question", "prefix"]
) -> None:
    packed = pack(pairs_of(batch), share=share, min_shared_tokens=2)
    found = seen_by(packed.segments, range(len(packed.segments)))
    paths = [[run(first, length) for first, length in path] for path in found]
    for *above, own in paths:
        for row in own:
            seen = [*chain(*above), *run(own[0], row - own[0] + 1)]
            assert seen == rows_until(packed, row).tolist()
    assert [row for path in paths for row in path[-1]] == run(0, packed.num_tokens)
    layout = varlen_layout(packed.segments, torch.device("cpu"))
    keys = [list(chain(*path)) for path in paths]
    assert layout.cu_keys.diff().tolist() == [len(rows) for rows in keys]
    assert layout.cu_queries.diff().tolist() == [len(path[-1]) for path in paths]
    assert (layout.max_keys, layout.max_queries) == (max(map(len, keys)), max(len(path[-1]) for path in paths))
    flat = list(chain(*keys))
    assert flat == (layout.key_rows.tolist() if layout.key_rows is not None else run(0, packed.num_tokens))


@settings(max_examples=150, deadline=None)
@given(
    batch=BATCHES,
    share=st.sampled_from(["question", "prefix"]),
    min_shared_tokens=st.integers(1, 6),
    round_to=st.sampled_from([1, 8, 64]),
)
def test_every_sequence_can_be_read_back(
    batch: list[tuple[Ids, Ids]], share: Literal["question", "prefix"], min_shared_tokens: int, round_to: int
) -> None:
    packed = pack(pairs_of(batch), share=share, min_shared_tokens=min_shared_tokens, round_to=round_to)
    predicting = iter(packed.predict_index.tolist())
    for (question, answer), last in zip(batch, packed.last_index.tolist(), strict=True):
        assert read(packed, last) == question + answer
        assert packed.position_ids[rows_until(packed, last)].tolist() == run(0, len(question + answer))
        for t in range(len(answer)):
            assert read(packed, next(predicting)) == question + answer[:t]
    assert list(predicting) == []
    assert packed.answer_ids.tolist() == [token for _, answer in batch for token in answer]
    assert packed.answer_lengths == tuple(len(answer) for _, answer in batch)
    assert packed.num_logical_tokens == sum(len(question + answer) for question, answer in batch)


@settings(max_examples=100, deadline=None)
@given(
    batch=BATCHES, share=st.sampled_from(["question", "prefix"]), least=st.integers(1, 6), round_to=st.integers(1, 9)
)
def test_segments_cover_the_row_exactly(
    batch: list[tuple[Ids, Ids]], share: Literal["question", "prefix"], least: int, round_to: int
) -> None:
    packed = pack(pairs_of(batch), share=share, min_shared_tokens=least, round_to=round_to)
    assert packed.num_tokens % round_to == 0
    assert packed.input_ids.shape == packed.position_ids.shape == (packed.num_tokens,)
    covered = 0
    for number, segment in enumerate(packed.segments):
        assert segment.start == covered
        assert segment.length > 0
        covered += segment.length
        above = [packed.segments[a] for a in segment.ancestors]
        assert segment.position == sum(s.length for s in above)
        if segment.ancestors:  # the path is the parent's path and the parent, and it lies to the left
            assert segment.ancestors == (*above[-1].ancestors, segment.ancestors[-1])
            assert segment.ancestors[-1] < number
    assert covered == packed.num_tokens


@settings(max_examples=100, deadline=None)
@given(batch=BATCHES)
def test_with_shared_questions_the_cost_is_q_plus_the_sum_of_a(batch: list[tuple[Ids, Ids]]) -> None:
    pairs = pairs_of(batch)
    expected = sum(len(q) for q in {tuple(q) for q, _ in batch}) + sum(len(a) for _, a in batch)
    assert pack(pairs, min_shared_tokens=1, round_to=1).num_tokens == expected
    assert packed_length(pairs, min_shared_tokens=1) == expected


@settings(max_examples=100, deadline=None)
@given(batch=BATCHES)
def test_with_shared_prefixes_the_cost_is_the_number_of_different_prefixes(batch: list[tuple[Ids, Ids]]) -> None:
    whole = [tuple(q + a) for q, a in batch]
    prefixes = {sequence[:n] for sequence in whole for n in range(1, len(sequence) + 1)}
    assert pack(pairs_of(batch), share="prefix", min_shared_tokens=1, round_to=1).num_tokens == len(prefixes)


@settings(max_examples=100, deadline=None)
@given(batch=BATCHES, least=st.integers(1, 6))
def test_where_a_pair_is_cut_does_not_depend_on_the_batch(batch: list[tuple[Ids, Ids]], least: int) -> None:
    def cuts(packed: PackedPairs, row: int) -> Ids:
        last = next(s for s in packed.segments if s.start <= row < s.start + s.length)
        return [packed.segments[a].length for a in last.ancestors] + [last.length]

    pairs = pairs_of(batch)
    together = pack(pairs, min_shared_tokens=least, round_to=1)
    for pair, row in zip(pairs, together.last_index.tolist(), strict=True):
        alone = pack([pair], min_shared_tokens=least, round_to=1)
        assert cuts(together, row) == cuts(alone, int(alone.last_index[0]))


def test_two_answers_to_one_question_by_hand() -> None:
    question = run(10, 16)
    packed = pack([TokenPair(question, [1, 2]), TokenPair(question, [3])], round_to=1)
    # row: the question at 0..15, the first answer at 16 and 17, the second at 18
    assert packed.input_ids.tolist() == [*question, 1, 2, 3]
    assert packed.position_ids.tolist() == [*run(0, 16), 16, 17, 16]
    assert packed.last_index.tolist() == [17, 18]
    assert packed.predict_index.tolist() == [15, 16, 15]
    assert packed.answer_ids.tolist() == [1, 2, 3]
    assert packed.answer_lengths == (2, 1)
    assert packed.num_logical_tokens == 16 + 2 + 16 + 1
    assert [(s.start, s.length, s.ancestors) for s in packed.segments] == [(0, 16, ()), (16, 2, (0,)), (18, 1, (0,))]


def test_a_question_of_less_than_16_tokens_is_computed_again() -> None:
    question = run(10, 15)
    packed = pack([TokenPair(question, [1, 2]), TokenPair(question, [3])], round_to=1)
    assert packed.input_ids.tolist() == [*question, 1, 2, *question, 3]
    assert packed.last_index.tolist() == [16, 32]
    assert packed.predict_index.tolist() == [14, 15, 31]


def test_rows_are_filled_up_with_tokens_that_nothing_reads() -> None:
    packed = pack([TokenPair(run(10, 20), run(100, n)) for n in (3, 5, 7)], round_to=64)
    assert packed.num_tokens == 64  # 20 + 3 + 5 + 7 = 35, and 29 that fill up
    assert packed.segments[-1].start == 35
    assert packed.segments[-1].ancestors == ()
    assert max(packed.last_index.max(), packed.predict_index.max()) < 35
    assert packed_length([TokenPair(run(10, 20), run(100, n)) for n in (3, 5, 7)]) == 35


def test_equal_pairs_are_stored_once_in_prefix_mode() -> None:
    pair = TokenPair(run(0, 4), [9, 9])
    packed = pack([pair, TokenPair(run(0, 4), [9, 9]), pair], share="prefix", round_to=1)
    assert packed.num_tokens == 6  # short as they are: nothing is cut
    assert packed.last_index.tolist() == [5, 5, 5]
    assert packed.predict_index.tolist() == [3, 4] * 3


@pytest.mark.parametrize("longest_first", [False, True])
def test_a_sequence_that_begins_another_costs_nothing_in_prefix_mode(longest_first: bool) -> None:
    pairs = [TokenPair(run(0, 3), run(3, 17)), TokenPair(run(0, 20), run(20, 5))]
    packed = pack(pairs[::-1] if longest_first else pairs, share="prefix", round_to=1)
    assert packed.num_tokens == 25
    assert packed.last_index.tolist() == ([24, 19] if longest_first else [19, 24])


def test_a_system_prompt_and_each_question_are_stored_once_in_prefix_mode() -> None:
    system = run(0, 30)
    questions = [system + run(100 * k, 20) for k in (1, 2)]
    pairs = [TokenPair(question, [500 + k] * 4) for k in range(3) for question in questions]
    assert pack(pairs, share="prefix", round_to=1).num_tokens == 30 + 2 * 20 + 6 * 4
    assert pack(pairs, share="question", round_to=1).num_tokens == 2 * 50 + 6 * 4


def test_less_than_16_common_tokens_are_computed_again_in_prefix_mode() -> None:
    for common, cost in ((15, 15 + 4 + 15 + 4), (16, 16 + 4 + 4)):
        pairs = [TokenPair(run(0, common), [k] * 4) for k in (50, 60)]
        assert pack(pairs, share="prefix", round_to=1).num_tokens == cost


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        pack([])


def test_everything_moves_to_a_device() -> None:
    packed = pack([TokenPair([5, 6], [7])])
    moved = packed.to("meta")
    for name, value in vars(packed).items():
        if isinstance(value, torch.Tensor):
            assert getattr(moved, name).device.type == "meta"
        else:
            assert getattr(moved, name) == value
    tensors = [value for value in vars(moved.layout).values() if isinstance(value, torch.Tensor)]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert packed.to("cpu") is packed
