"""The frozen reference: what the SFT model would have said."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.results import ScoreKind
from rewardplane.wire import TokenPair

from .config import JudgeConfig
from .connection import client_of
from .patience import Judge, JudgeMisfit


class ReferenceJudge(Judge):
    """The frozen SFT model: log-probs of answers. It must have the policy's tokenizer."""

    def __init__(self, config: JudgeConfig, encoder: PairEncoder) -> None:
        super().__init__("reference", config)
        if config.kserve:
            raise JudgeMisfit(f"the reference at {config.target} must be a rewardplane server: give its host:port")
        self._client = client_of(config, encoder)
        self._info = self.patiently(self._client.info)
        if self._info.score_kind is ScoreKind.REWARD:
            self.close()
            raise JudgeMisfit(f"the server at {config.target} holds a reward model, which is no reference")
        if self._info.tokenizer_fingerprint != encoder.fingerprint:
            self.close()
            raise JudgeMisfit(
                f"the reference at {config.target} has tokenizer {self._info.tokenizer_fingerprint[:12]}, "
                f"the policy {encoder.fingerprint[:12]}: log-probs of different tokens cannot be compared"
            )

    @property
    def digest(self) -> str:
        return self._info.model_version.checkpoint_digest

    def logprobs(self, pairs: Sequence[TokenPair], temperature: float) -> list[Tensor]:  # float32[A] each
        reply = self.patiently(
            lambda: self._client.logprobs(pairs, temperature=temperature, expected_checkpoint_digest=self.digest)
        )
        return [torch.from_numpy(values) for values in reply.values]

    def close(self) -> None:
        self._client.close()
