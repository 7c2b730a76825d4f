"""What a reward judge needs of a server, and the servers of our own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.results import ScoreKind
from rewardplane.wire import Pair

from .config import JudgeConfig
from .connection import client_of
from .patience import JudgeMisfit


@dataclass(frozen=True)
class Identity:
    """Which weights a server had when the run began."""

    digest: str
    same_tokens: bool
    """Whether it takes the policy's token ids; if not, it is sent text."""


class ScoreServer(Protocol):
    """A server that scores. What it or the network does wrong is raised as one of rewardplane.errors."""

    def identify(self) -> Identity:
        """Asks once, when the run begins. Raises JudgeMisfit when the server cannot judge."""
        ...

    def scores(self, pairs: Sequence[Pair], digest: str) -> NDArray[np.float32]:  # [n], finite
        """Raises DigestMismatch when the server has other weights than those of the digest."""
        ...

    def close(self) -> None: ...


class RewardplaneScores:
    """A reward server of ours."""

    def __init__(self, config: JudgeConfig, encoder: PairEncoder) -> None:
        self._target = config.target
        self._fingerprint = encoder.fingerprint
        self._client = client_of(config, encoder)

    def identify(self) -> Identity:
        info = self._client.info()
        if info.score_kind is ScoreKind.NONE:
            raise JudgeMisfit(f"the server at {self._target} does not score: is it the reference?")
        same_tokens = info.tokenizer_fingerprint == self._fingerprint
        return Identity(info.model_version.checkpoint_digest, same_tokens)

    def scores(self, pairs: Sequence[Pair], digest: str) -> NDArray[np.float32]:
        return self._client.score(pairs, expected_checkpoint_digest=digest).values

    def close(self) -> None:
        self._client.close()
