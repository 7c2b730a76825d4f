"""The attention kernel of short segments against its formula in float64."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from one_by_one import mixed_pairs
from torch import Tensor, nn

from rewardplane.modeling.attention import _Attend, attend
from rewardplane.modeling.forest import Segment
from rewardplane.modeling.fused.attention import attend_runs, runs_of
from rewardplane.modeling.packing import pack

# Two questions of 20 and 9 tokens, the first with three answers (one of which goes on), and what fills the row.
FOREST = (
    Segment(0, 20, (), 0),
    Segment(20, 13, (0,), 20),
    Segment(33, 1, (0,), 20),
    Segment(34, 9, (), 0),
    Segment(43, 30, (0,), 20),
    Segment(73, 17, (0, 4), 50),
    Segment(90, 6, (), 0),
)
ROWS = 96
READ = 6


def by_formula(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """[T, H, D] and [T, G, D] -> [T, H, D], over the rows that each row's segment lets it see."""
    sees = torch.zeros(ROWS, ROWS, dtype=torch.bool)
    for number in range(READ):
        own = slice(FOREST[number].start, FOREST[number].start + FOREST[number].length)
        sees[own, own] = torch.ones(FOREST[number].length, FOREST[number].length, dtype=torch.bool).tril()
        for above in FOREST[number].ancestors:
            sees[own, FOREST[above].start : FOREST[above].start + FOREST[above].length] = True
    copies = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(copies, 1) for x in (key, value))
    logits = scale * torch.einsum("ihd,jhd->hij", query, key)
    weights = logits.masked_fill(~sees, -torch.inf).softmax(-1).nan_to_num(0.0)  # rows that see nothing: 0
    return torch.einsum("hij,jhd->ihd", weights, value)


def draw(heads: int, width: int, seed: int) -> Tensor:
    return torch.randn(ROWS, heads, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("heads", "groups", "width", "scale"),
    [(1, 1, 8, None), (4, 4, 16, None), (6, 2, 24, 0.3), (4, 1, 64, None), (2, 2, 80, None)],
)
def test_values_and_gradients_are_those_of_the_formula(
    heads: int, groups: int, width: int, scale: float | None
) -> None:
    inputs = [draw(n, width, seed).requires_grad_() for seed, n in enumerate((heads, groups, groups))]
    precise = [x.detach().double().requires_grad_() for x in inputs]
    found = attend_runs(*(x.flatten(1) for x in inputs), runs_of(FOREST, READ), width, scale)
    expected = by_formula(*precise, width**-0.5 if scale is None else scale).flatten(1)
    assert (found - expected).abs().max() < 2e-6
    upstream = draw(heads, width, 3).flatten(1)
    mine = torch.autograd.grad(found, inputs, upstream)
    theirs = torch.autograd.grad(expected, precise, upstream.double())
    for gradient, exact in zip(mine, theirs, strict=True):
        assert (gradient - exact).abs().max() < 4e-6 * exact.abs().max()
    with torch.no_grad():  # without what a backward needs: the same bits
        again = attend_runs(*(x.flatten(1) for x in inputs), runs_of(FOREST, READ), width, scale)
    assert torch.equal(again, found)


def test_large_logits_do_not_overflow_and_far_ones_are_zero() -> None:
    query, key = 40 * draw(1, 16, 0), 40 * draw(1, 16, 1)
    value = draw(1, 16, 2)
    found = attend_runs(*(x.flatten(1) for x in (query, key, value)), runs_of(FOREST, READ), 16, None)
    expected = by_formula(*(x.double() for x in (query, key, value)), 0.25).flatten(1)
    assert (found - expected).abs().max() < 1e-3  # logits of 3,000 have an error of 1e-4 in float32


def test_nan_of_one_segment_stays_in_it_and_below_it() -> None:
    rows = [draw(2, 16, seed).flatten(1) for seed in range(3)]
    for x in rows:
        x[43:73] = torch.nan  # the fourth segment, and what lies in the buffers for the fifth's keys and later
    inputs = [x.requires_grad_() for x in rows]
    found = attend_runs(*inputs, runs_of(FOREST, READ), 16, None)
    gradients = torch.autograd.grad(found, inputs, torch.ones_like(found).index_fill(0, torch.arange(43, 90), 0.0))
    hit = torch.zeros(ROWS, dtype=torch.bool)
    hit[43:90] = True  # 73 to 90 continue it
    assert torch.equal(found.isnan().all(1), hit)
    assert torch.equal(found.isnan().any(1), hit)
    apart = torch.zeros(ROWS, dtype=torch.bool)
    apart[34:43] = True  # shares nothing with it
    for gradient in gradients:
        assert gradient[apart].isfinite().all()


def test_a_segment_has_the_same_bits_beside_others_and_on_more_threads() -> None:
    segments = [Segment(40 * n, 40, (), 0) for n in range(200)]
    rows = [torch.randn(8000, 64, generator=torch.Generator().manual_seed(n)).requires_grad_() for n in range(3)]
    upstream = torch.randn(8000, 64, generator=torch.Generator().manual_seed(3))

    def run(numbers: Sequence[int]) -> list[Tensor]:
        found = attend_runs(*rows, runs_of([segments[n] for n in numbers], len(numbers)), 16, None)
        return [found, *torch.autograd.grad(found, rows, upstream)]

    together = run(range(200))
    torch.set_num_threads(2)
    try:
        threads = run(range(200))
    finally:
        torch.set_num_threads(1)
    some = run([3, 77, 150])
    for all_of_them, on_threads, few in zip(together, threads, some, strict=True):
        assert torch.equal(all_of_them, on_threads)
        for number in (3, 77, 150):
            assert torch.equal(few[40 * number : 40 * number + 40], all_of_them[40 * number : 40 * number + 40])


@pytest.mark.parametrize("length", [990, 1100])
def test_long_segments_attend_as_short_ones_do(length: int) -> None:
    """Some by the kernel, some by torch's attention, and both beside a question that they share."""
    segments = (Segment(0, 30, (), 0), Segment(30, length, (0,), 30), Segment(30 + length, 7, (0,), 30))
    rows = 37 + length
    inputs = [torch.randn(1, 2, rows, 16, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    runs = runs_of(segments, 3)
    assert runs.alone == ((1,) if length == 1100 else ())
    packed: Any = SimpleNamespace(runs=runs, segments=segments)
    found = _Attend(None, None, None, None).packed(*inputs, packed)[0]
    query, key, value = (x[0].double() for x in inputs)
    for segment in segments:
        own = torch.arange(segment.start, segment.start + segment.length)
        seen = torch.cat([torch.arange(30) if segment.ancestors else own[:0], own])
        logits = query[:, own] @ key[:, seen].transpose(1, 2) / 4.0
        hidden = torch.ones(len(own), len(own), dtype=torch.bool).triu(1)
        logits[:, :, len(seen) - len(own) :].masked_fill_(hidden, -torch.inf)
        expected = logits.softmax(-1) @ value[:, seen]
        assert (found[own].transpose(0, 1) - expected).abs().max() < 2e-6


@pytest.mark.parametrize("width", [8, 16, 24])
def test_values_may_have_another_width_than_keys(width: int) -> None:
    """As DeepSeek's have. In float64 torch attends, whatever the widths."""
    packed = pack(mixed_pairs(), round_to=1)
    random = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, packed.num_tokens, size, generator=random)
        for heads, size in ((4, 16), (2, 16), (2, width))
    )
    found, _ = attend(nn.Module(), query, key, value, None, packed_pairs=packed)
    expected, _ = attend(nn.Module(), query.double(), key.double(), value.double(), None, packed_pairs=packed)
    assert found.shape == (1, packed.num_tokens, 4, width)
    assert (found - expected).abs().max() < 2e-6
