"""Scores, log-probs and answers from rewardplane servers, without torch.

    with rewardplane.Client("reward.rlhf.svc:8080") as client:
        scores = client.score([("What is 2+2?", "4"), ("What is 2+2?", "5")])

Names are imported on first use: servers and trainer share the package and do not load what they do not need.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardplane.aio import AsyncClient
    from rewardplane.client import Client
    from rewardplane.errors import (
        DeadlineExceeded,
        DigestMismatch,
        InvalidRequest,
        MessageTooLarge,
        PermissionDenied,
        PreconditionFailed,
        QuotaExceeded,
        RewardplaneError,
        ServerFault,
        TokenizerMismatch,
        Unauthenticated,
        Unavailable,
        Unimplemented,
    )
    from rewardplane.results import Answer, Generations, Logprobs, ModelInfo, ModelVersion, ScoreKind, Scores
    from rewardplane.retry import RetryPolicy
    from rewardplane.tls import TlsFiles
    from rewardplane.wire import ChatMessage, ChatPair, TextPair, TokenPair

    __version__: str

__all__ = [
    "Answer",
    "AsyncClient",
    "ChatMessage",
    "ChatPair",
    "Client",
    "DeadlineExceeded",
    "DigestMismatch",
    "Generations",
    "InvalidRequest",
    "Logprobs",
    "MessageTooLarge",
    "ModelInfo",
    "ModelVersion",
    "PermissionDenied",
    "PreconditionFailed",
    "QuotaExceeded",
    "RetryPolicy",
    "RewardplaneError",
    "ScoreKind",
    "Scores",
    "ServerFault",
    "TextPair",
    "TlsFiles",
    "TokenPair",
    "TokenizerMismatch",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "__version__",
]

_HOMES = ("errors", "results", "wire", "retry", "tls", "client", "aio")  # cheapest first


def __getattr__(name: str) -> object:
    if name == "__version__":
        return metadata.version("rewardplane")
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"rewardplane.{home}")
            if name in vars(module):
                globals()[name] = value = vars(module)[name]
                return value
    raise AttributeError(f"module 'rewardplane' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
