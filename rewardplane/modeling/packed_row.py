"""Says whether the forward that is running is that of a packed row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_active: ContextVar[bool] = ContextVar("rewardplane_packed_row", default=False)


@contextmanager
def packed_row() -> Iterator[None]:
    token = _active.set(True)
    try:
        yield
    finally:
        _active.reset(token)


def is_packed_row() -> bool:
    return _active.get()
