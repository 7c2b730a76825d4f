"""The queue of a server: pairs of all callers, bounded in tokens, cut into batches by packed tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rewardplane.modeling.packing import Share
from rewardplane.wire import TokenPair

from .access import ANONYMOUS, Caller
from .fair_queue import FairQueue
from .row_count import count_row

LOOK_AHEAD = 32
"""How many pairs of other temperatures are passed over, in search of one of the batch's, before it is closed."""


@dataclass(eq=False)
class Entry:
    """One pair that waits."""

    pair: TokenPair
    temperature: float
    expires_at_s: float
    """On the clock of time.monotonic; infinity for no deadline."""
    queued_at_s: float
    index: int
    """The pair's place in its request."""
    settle: Callable[[int, Any], None]
    """Takes the index and the result, on the event loop."""
    caller: Caller = ANONYMOUS
    question: bytes = field(init=False)
    """Equal bytes are equal questions."""
    started_at_s: float = field(init=False, default=float("inf"))
    """When its forward pass began, on the same clock; infinity while it waits."""

    def __post_init__(self) -> None:
        self.question = self.pair.question_ids.tobytes()

    @property
    def tokens(self) -> int:
        return len(self.pair.question_ids) + len(self.pair.answer_ids)


class PairQueue(FairQueue[Entry]):
    """In turn, but pairs with the question of one that is taken come along.

    The entry whose turn it is is in every batch, so nothing starves. Not thread-safe; the batcher holds its lock.
    """

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share
        self._by_question: dict[bytes, dict[Entry, None]] = {}

    def add(self, entry: Entry) -> None:
        super().add(entry)
        self._by_question.setdefault(entry.question, {})[entry] = None

    def remove(self, entry: Entry) -> bool:
        """Says whether the entry was still waiting."""
        if not super().remove(entry):
            return False
        siblings = self._by_question[entry.question]
        del siblings[entry]
        if not siblings:
            del self._by_question[entry.question]
        return True

    def take(self, max_tokens: int, now_s: float) -> tuple[list[Entry], list[Entry]]:
        """Takes the next batch out of the queue, and what is past its deadline: (batch, expired).

        The batch is of one temperature, and has at most `max_tokens` tokens when packed, or one pair. A pair that does
        not fit closes it: were smaller ones let past, the longest would wait longest, and there is enough in a batch.
        """
        row = count_row(self._share)
        batch: list[Entry] = []
        costs: list[int] = []
        expired: list[Entry] = []
        passed_over = 0
        for entry in self.in_turn(lambda entry: self._by_question[entry.question]):
            if entry.expires_at_s <= now_s:
                expired.append(entry)
            elif batch and entry.temperature != batch[0].temperature:
                passed_over += 1
                if passed_over > LOOK_AHEAD:
                    break
            elif batch and row.added_tokens(entry.pair) > max_tokens - row.tokens:
                break
            else:
                before = row.tokens
                row.add(entry.pair)
                batch.append(entry)
                costs.append(row.tokens - before)
        for entry in expired:
            self.remove(entry)
        for entry, cost in zip(batch, costs, strict=True):
            self.serve(entry, cost, leads=entry is batch[0])
        return batch, expired
