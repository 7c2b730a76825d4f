"""One loaded checkpoint as the compute thread sees it: batches of token pairs in, float32 arrays out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.models import Loaded
from rewardplane.modeling.packing import PackedPairs, Share, pack
from rewardplane.v1 import types_pb2
from rewardplane.wire import TokenPair

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class RowTokens:
    """How many tokens a forward pass ran over, and why."""

    computed: int
    """Tokens of the callers, each shared prefix once."""
    shared: int
    """Tokens that sharing saved."""
    filler: int
    """Tokens that only fill the row up; nothing reads them."""


class ServedModel(ABC):
    """A checkpoint that is served. Everything but the constructor runs on the compute thread."""

    output_name: ClassVar[str]
    """What `outputs` holds, in the words of an error message."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.loaded_at_s = time.time()
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
    def outputs(self, packed: PackedPairs, temperature: float) -> list[Floats]:
        """One array a pair: its score as float32[1], or the log-probs of its answer, float32[A], nats."""

    @abstractmethod
    def score(self, output: Floats) -> float:
        """The pair's score, from its output at temperature 1."""

    def forward(
        self, pairs: Sequence[TokenPair], temperature: float = 1.0, *, share: Share = "question"
    ) -> tuple[list[Floats], RowTokens]:
        """One forward pass over all pairs in one packed row. Gives the outputs in the order of the pairs."""
        length = sum(len(pair.question_ids) + len(pair.answer_ids) for pair in pairs)
        with torch.inference_mode():
            packed = pack(pairs, share=share, round_to=row_step(length)).to(self.loaded.model.device)
            outputs = self.outputs(packed, temperature)
        return outputs, count_tokens(packed)


def row_step(length: int) -> int:
    """To a multiple of what a row of about `length` tokens is filled up.

    oneDNN keeps a compiled kernel for every distinct number of rows: 0.4 to 0.8 GB when all lengths occur.
    Short rows take small steps, so that at most a sixteenth of what is computed is filler.
    """
    return next((step for limit, step in ((64, 4), (128, 8), (256, 16), (512, 32)) if length <= limit), 64)


def count_tokens(packed: PackedPairs) -> RowTokens:
    # The filler is the end of the row; the run before it ends some pair.
    computed = int(packed.last_index.max()) + 1
    return RowTokens(computed, packed.num_logical_tokens - computed, packed.num_tokens - computed)
