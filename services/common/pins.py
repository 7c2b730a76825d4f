"""What a caller insists on: these weights, this tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rewardplane.errors import DigestMismatch, TokenizerMismatch
from rewardplane.v1 import types_pb2
from rewardplane.wire import TokenPair

from . import faults
from .served_model import ServedModel


@dataclass(frozen=True)
class Pins:
    """The two fields that every request of rewardplane.v1 may set; empty ones insist on nothing."""

    expected_checkpoint_digest: str = ""
    tokenizer_fingerprint: str = ""
    ids_need_fingerprint: bool = False
    """Token ids mean nothing without their tokenizer, so rewardplane.v1 demands that it is named."""

    def check(self, model: ServedModel, inputs: Iterable[object]) -> None:
        """Raises DigestMismatch, TokenizerMismatch or InvalidFields (TOKENIZER_FINGERPRINT_REQUIRED)."""
        self.check_version(model.version)
        served = model.encoder.fingerprint
        if self.tokenizer_fingerprint and self.tokenizer_fingerprint != served:
            raise TokenizerMismatch(
                f"{model.version.model_name} has the tokenizer {served}, and the request insists on "
                f"{self.tokenizer_fingerprint}: send text, or token ids of the server's tokenizer"
            )
        if self.ids_need_fingerprint and not self.tokenizer_fingerprint and any(map(_is_ids, inputs)):
            raise faults.invalid_field(
                "tokenizer_fingerprint",
                "is empty, but token ids were sent: set it to ModelInfo.tokenizer_fingerprint",
                reason="TOKENIZER_FINGERPRINT_REQUIRED",
            )

    def check_version(self, version: types_pb2.ModelVersion) -> None:
        """Raises DigestMismatch."""
        expected = self.expected_checkpoint_digest
        if expected and expected != version.checkpoint_digest:
            raise DigestMismatch(
                f"the server runs {version.model_name} with digest {version.checkpoint_digest}, "
                f"not the expected {expected}"
            )


def _is_ids(given: object) -> bool:
    return isinstance(given, (TokenPair, np.ndarray))


NO_PINS = Pins()
