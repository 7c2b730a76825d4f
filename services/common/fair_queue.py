"""Whose turn it is: start-time fair queueing between callers.

Each caller's items stay in their order. Between callers the one goes first that has had the least, in tokens over
weight (Goyal, Vin and Cheng, "Start-time Fair Queuing", SIGCOMM 1996); who was away has saved up nothing. With one
caller, the order is that of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from .access import Caller

FIRST_IN_A_ROW = 3
"""Turns of callers with priority, while others wait, before one of the others has its turn."""


class Waits(Hashable, Protocol):
    """Something in a queue."""

    @property
    def caller(self) -> Caller: ...

    @property
    def tokens(self) -> int: ...


T = TypeVar("T", bound=Waits)


@dataclass(eq=False)
class _Line(Generic[T]):
    """What one caller has in the queue."""

    items: dict[T, None] = field(default_factory=dict)  # in order of arrival
    tokens: int = 0
    had: float = 0.0
    """Tokens over weight, counted from where the others were when it came."""


class FairQueue(Generic[T]):
    """Not thread-safe. Adding and removing take the same time however much waits."""

    def __init__(self) -> None:
        self.tokens = 0
        self._length = 0
        self._lines: dict[str, _Line[T]] = {}
        self._now = {True: 0.0, False: 0.0}  # what the caller whose turn it was had had; by Caller.first
        self._first_in_a_row = 0

    def __len__(self) -> int:
        return self._length

    def __contains__(self, item: T) -> bool:
        line = self._lines.get(item.caller.name)
        return line is not None and item in line.items

    def tokens_of(self, caller: Caller) -> int:
        return self._lines[caller.name].tokens if caller.name in self._lines else 0

    def add(self, item: T) -> None:
        line = self._lines.setdefault(item.caller.name, _Line())
        if not line.items:
            line.had = max(line.had, self._now[item.caller.first])
        line.items[item] = None
        line.tokens += item.tokens
        self.tokens += item.tokens
        self._length += 1

    def remove(self, item: T) -> bool:
        """Says whether the item was still waiting."""
        if item not in self:
            return False
        self._length -= 1
        line = self._lines[item.caller.name]
        del line.items[item]
        line.tokens -= item.tokens
        self.tokens -= item.tokens
        return True

    def next(self) -> T:
        """Takes out the item whose turn it is; the queue is not empty."""
        item = next(self.in_turn(lambda item: (item,)))
        self.serve(item, item.tokens, leads=True)
        return item

    def in_turn(self, with_it: Callable[[T], Iterable[T]]) -> Iterator[T]:
        """Every item once: that whose turn it is with those that come with it, the next one with its own, ..."""
        seen: set[T] = set()
        had = {name: line.had for name, line in self._lines.items() if line.items}
        left = {name: iter(self._lines[name].items) for name in had}
        last = not self._first_in_a_row < FIRST_IN_A_ROW  # whether those with priority come after the others
        heap = [
            (next(iter(self._lines[name].items)).caller.first is last, value, place, name)
            for place, (name, value) in enumerate(had.items())
        ]
        heapify(heap)
        while heap:
            rank, value, place, name = heappop(heap)
            if value < had[name]:  # some of its items came with those of another
                heappush(heap, (rank, had[name], place, name))
                continue
            head = next((item for item in left[name] if item not in seen), None)
            if head is None:
                continue
            for item in with_it(head):
                seen.add(item)
                had[item.caller.name] += item.tokens / item.caller.weight
                yield item
            heappush(heap, (rank, had[name], place, name))

    def serve(self, item: T, tokens: int, *, leads: bool) -> None:
        """Takes an item out and notes what it cost. `leads`: it was its turn; it was not taken along."""
        line = self._lines[item.caller.name]
        if leads:
            first = item.caller.first
            self._now[first] = max(self._now[first], line.had)
            waited_for = first and any(not other.caller.first for other in self._heads())
            self._first_in_a_row = self._first_in_a_row + 1 if waited_for else 0
        line.had += tokens / item.caller.weight
        self.remove(item)

    def _heads(self) -> Iterator[T]:
        return (next(iter(line.items)) for line in self._lines.values() if line.items)


def has_room(asked: int, *, own: int, queued: int, limit: int, shared: bool) -> bool:
    """Whether a queue with a limit takes `asked` more tokens from a caller who has `own` in it.

    A queue that callers share takes from each at most as much as is then still free (dynamic thresholds; Choudhury
    and Hahne, 1998), so that n of them that flood it leave the (n+1)th part to whoever comes. An empty queue takes
    a request of any size: waiting would not make room for it.
    """
    if not queued:
        return True
    if shared and own and own + asked > limit - queued:
        return False
    return queued + asked <= limit
