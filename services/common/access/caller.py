"""Who the call that is being handled comes from."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from .. import faults
from .quota import TokenBucket

Permission = Literal["score", "logprobs", "generate", "control", "statistics"]
"""The capabilities of models, and of KServe v2: `control` is the model repository and shared memory, `statistics` is
statistics and the settings of tracing and logs."""

PERMISSIONS: frozenset[Permission] = frozenset(("score", "logprobs", "generate", "control", "statistics"))


@dataclass(frozen=True, eq=False)
class Caller:
    """An identity of the access file, or everybody where there is none."""

    name: str
    """For metrics, logs and the queue."""
    permissions: frozenset[Permission] = PERMISSIONS
    models: tuple[str, ...] = ("*",)
    """Names of models, with * and ? as in file names."""
    weight: float = 1.0
    """Its part of a busy server, next to the weights of the others."""
    first: bool = False
    """Whether its work goes before that of others."""
    quota: TokenBucket | None = None

    def require(self, permission: Permission) -> None:
        """Raises PermissionDenied."""
        if permission not in self.permissions:
            raise faults.not_allowed()

    def require_model(self, name: str) -> None:
        """Raises PermissionDenied."""
        if not any(fnmatchcase(name, pattern) for pattern in self.models):
            raise faults.not_allowed()


ANONYMOUS = Caller("anonymous")
"""Everybody, on a server without an access file."""

_current: ContextVar[Caller] = ContextVar("rewardplane_caller", default=ANONYMOUS)


def current_caller() -> Caller:
    """Of the call that the running task handles, or of the one that started the task."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """For the rest of the running task, and the tasks that it starts."""
    _current.set(caller)
