"""What a client hands back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from rewardplane.wire import TokenPair


@dataclass(frozen=True)
class ModelVersion:
    """Names one set of weights, byte for byte. All empty when there was nothing to compute."""

    model_name: str = ""
    checkpoint_digest: str = ""
    """SHA-256 of the checkpoint manifest, hex."""
    policy_version: int = 0
    """PPO updates behind these weights."""


class ScoreKind(enum.Enum):
    """What a score means on a server."""

    NONE = "none"
    """The server does not score."""
    REWARD = "reward"
    """The reward model's scalar, shifted so that reference answers average 0."""
    LOGPROB_SUM = "logprob_sum"
    """The sum of the answer's log-probs, in nats."""
    IMPLICIT_REWARD = "implicit_reward"
    """kl_coef * (log-prob under the policy - log-prob under the SFT reference), summed over the answer."""
    UNKNOWN = "unknown"
    """A kind that this version of the client has no name for."""


@dataclass(frozen=True)
class ModelInfo:
    """What a server serves, and how much it accepts at once. A limit of 0 is no limit."""

    model_version: ModelVersion
    tokenizer_fingerprint: str
    """Hex SHA-256 over vocabulary, merges and special tokens."""
    dtype: str
    score_kind: ScoreKind
    max_pair_tokens: int
    max_request_pairs: int
    max_request_bytes: int
    max_batch_tokens: int
    load_time: datetime
    """When the weights became ready, UTC."""
    vocabulary_size: int
    stop_token_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Scores(Sequence[float]):
    """One score for each pair, in the order of the call; also a sequence of floats."""

    values: NDArray[np.float32]  # [n], finite
    model_version: ModelVersion

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        chosen: float | list[float] = self.values[index].tolist()
        return chosen

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.values, dtype, copy=copy)


@dataclass(frozen=True, eq=False)
class Logprobs:
    """The log-probs of each answer's tokens, in the order of the call."""

    values: list[NDArray[np.float32]]  # n arrays [A], nats, finite
    model_version: ModelVersion


@dataclass(frozen=True, eq=False)
class Answer:
    """One sampled answer."""

    text: str
    tokens: TokenPair
    """The question's and the sampled ids, so that nothing is tokenized twice."""
    logprobs: NDArray[np.float32]  # [A], nats, under the weights and temperature that sampled it
    finished: bool
    """True when the policy emitted a stop token, False when it ran into max_answer_tokens."""


@dataclass(frozen=True, eq=False)
class Generations:
    """`answers[q][k]` is the k-th answer to questions[q]."""

    answers: tuple[tuple[Answer, ...], ...]
    model_version: ModelVersion
