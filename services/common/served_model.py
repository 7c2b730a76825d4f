"""One loaded checkpoint as the compute threads see it: batches of token pairs in, float32 arrays out."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.models import Loaded
from rewardplane.modeling.packing import Share
from rewardplane.modeling.rope import remembers_lengths
from rewardplane.v1 import types_pb2
from rewardplane.wire import TokenPair

Floats = NDArray[np.float32]

_numbers = itertools.count()


@dataclass(frozen=True)
class RowTokens:
    """How many tokens a forward pass ran over, and why."""

    computed: int
    """Tokens of the callers, each shared prefix once."""
    shared: int
    """Tokens that sharing saved."""
    filler: int
    """Tokens that only fill rows up; nothing reads them."""

    def __add__(self, other: RowTokens) -> RowTokens:
        return RowTokens(self.computed + other.computed, self.shared + other.shared, self.filler + other.filler)


class ServedModel(ABC):
    """A checkpoint that is served. Everything but the constructor runs on compute threads."""

    output_name: str
    """What `forward` gives, in the words of an error message."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.loaded_at_s = time.time()
        """For people: a clock that is set back says that new weights are older than old ones."""
        self.number = next(_numbers)
        """Counts the loads of this process."""
        self.turn: AbstractContextManager[object] = Lock() if remembers_lengths(loaded.model.config) else nullcontext()
        """To be held around a forward pass, where batches run side by side."""
        manifest = loaded.manifest
        self.version = types_pb2.ModelVersion(
            model_name=manifest.model_name,
            checkpoint_digest=manifest.digest,
            policy_version=manifest.policy_version,
        )

    @property
    def encoder(self) -> PairEncoder:
        return self.loaded.encoder

    @abstractmethod
    def forward(
        self, pairs: Sequence[TokenPair], temperature: float = 1.0, *, share: Share = "question"
    ) -> tuple[list[Floats], RowTokens]:
        """One array a pair, in their order: its score as float32[1], or its answer's log-probs, float32[A], nats."""

    @abstractmethod
    def score(self, output: Floats) -> float:
        """The pair's score, from its output at temperature 1."""

    @abstractmethod
    def error(self, pairs: Sequence[TokenPair]) -> float:
        """How far the forward pass of these pairs is from transformers' own of each pair alone.

        Relative to the largest number that is compared.
        """
