"""Which segments of a packed row attention computes in one call: many small calls cost more than their work.

Short segments of like length make a bundle, each filled up to a length that depends on the segment alone: so its
result has the same bits whatever else is in the bundle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .forest import Segment
from .upload import upload

FILL_TO = 16
"""Lengths are filled up to a multiple of it."""
MAX_OWN, MAX_KEYS = 128, 512
"""Longer segments, and those that attend to more tokens, are worth a call of their own."""


@dataclass(frozen=True)
class Bundle:
    """n segments of `own` tokens, which attend to `keys` tokens each: those above them, and their own."""

    numbers: tuple[int, ...]  # of the segments
    own: int
    keys: int
    mask: Tensor | None  # float32[n, 1, own, keys]  0 where a query sees a key, else -inf; None: causal, no key above


@dataclass(frozen=True)
class Layout:
    """How attention goes over a packed row of T tokens: bundle by bundle, then the long segments one by one."""

    segments: tuple[Segment, ...]
    bundles: tuple[Bundle, ...]
    alone: tuple[int, ...]  # numbers of the long segments
    query_rows: Tensor  # int64[sum n * own]  of the packed row, bundle by bundle; filling repeats a row
    key_rows: Tensor  # int64[sum n * keys]
    order: Tensor  # int64[T]  where each row of the packed row is among the results, one after the other

    def to(self, device: torch.device | str) -> Layout:
        moved: dict[str, Any] = {
            name: upload(getattr(self, name), device) for name in ("query_rows", "key_rows", "order")
        }
        bundles = tuple(
            bundle if bundle.mask is None else replace(bundle, mask=upload(bundle.mask, device))
            for bundle in self.bundles
        )
        return replace(self, bundles=bundles, **moved)


def layout_of(segments: Sequence[Segment]) -> Layout:
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    alone: list[int] = []
    for number, segment in enumerate(segments):
        own, above = _filled(segment.length), _filled(segment.position)
        if own <= MAX_OWN and own + above <= MAX_KEYS:
            alike[own, above].append(number)
        else:
            alone.append(number)
    queries = [_rows([segments[i] for i in numbers], own) for (own, _), numbers in alike.items()]
    keys = [
        np.concatenate([_rows_above(segments, numbers, above), own_rows], axis=1)
        for ((_, above), numbers), own_rows in zip(alike.items(), queries, strict=True)
    ]
    return Layout(
        segments=tuple(segments),
        bundles=tuple(
            Bundle(tuple(numbers), own, above + own, _mask([segments[i].position for i in numbers], own, above))
            for (own, above), numbers in alike.items()
        ),
        alone=tuple(alone),
        query_rows=_flat(queries),
        key_rows=_flat(keys),
        order=_order(segments, queries, [segments[i] for i in alone]),
    )


def _rows(segments: Sequence[Segment], length: int) -> NDArray[np.int64]:  # [n, length]
    starts, ends = np.array([(s.start, s.start + s.length - 1) for s in segments]).T
    rows: NDArray[np.int64] = np.minimum(starts[:, None] + np.arange(length), ends[:, None])
    return rows


def _rows_above(segments: Sequence[Segment], numbers: Sequence[int], length: int) -> NDArray[np.int64]:
    """[n, length]: the rows of each segment's ancestors, filled up."""
    result = np.zeros((len(numbers), length), np.int64)
    for rows, number in zip(result, numbers, strict=True):
        for ancestor in (segments[a] for a in segments[number].ancestors):
            rows[ancestor.position : ancestor.position + ancestor.length] = np.arange(
                ancestor.start, ancestor.start + ancestor.length
            )
    return result


def _mask(lengths_above: Sequence[int], own: int, above: int) -> Tensor | None:  # [n, 1, own, above + own]
    if not above:
        return None
    hidden = torch.zeros(len(lengths_above), own, above + own, dtype=torch.bool)
    hidden[:, :, :above] = (torch.arange(above) >= torch.tensor(lengths_above)[:, None])[:, None]
    hidden[:, :, above:] = torch.ones(own, own, dtype=torch.bool).triu(1)
    return torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf)[:, None]


def _order(
    segments: Sequence[Segment], bundled: Sequence[NDArray[np.int64]], alone: Sequence[Segment]
) -> Tensor:  # int64[T]
    """Of the places that hold a row, the first: what fills a segment up comes after it."""
    rows = np.concatenate([*(x.reshape(-1) for x in bundled), *(_rows([s], s.length)[0] for s in alone)])
    order = np.empty(sum(s.length for s in segments), np.int64)
    order[rows[::-1]] = np.arange(len(rows))[::-1]
    return torch.from_numpy(order)


def _flat(rows: Sequence[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *(x.reshape(-1) for x in rows)]))


def _filled(length: int) -> int:
    return -(-length // FILL_TO) * FILL_TO
