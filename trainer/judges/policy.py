"""The policy's own server, from which a run may sample."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardplane.errors import DigestMismatch, Unavailable
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.results import ModelInfo

from .config import JudgeConfig
from .connection import client_of
from .patience import Judge, JudgeGone, JudgeMisfit

Ids = NDArray[np.int32]

DTYPE = "float32"
LOOK_AGAIN_S = 0.05


class PolicyServer(Judge):
    """Samples from the weights that were published last, and from no others: PPO is on-policy."""

    def __init__(self, config: JudgeConfig, encoder: PairEncoder) -> None:
        super().__init__("policy", config)
        if config.kserve:
            raise JudgeMisfit(f"the policy at {config.target} must be a rewardplane server: give its host:port")
        self._encoder = encoder
        self._client = client_of(config, encoder)
        self._digest = ""

    @property
    def digest(self) -> str:
        """Of the weights that it has to have; "" before any were published."""
        return self._digest

    def follow(self, digest: str) -> None:
        """Waits until the server has swapped to these weights. Raises JudgeGone when it does not in time, and
        JudgeMisfit when it can never sample for this run."""
        self._digest = digest
        began = time.monotonic()
        while (info := self.patiently(self._client.info)).model_version.checkpoint_digest != digest:
            if time.monotonic() - began > self.config.outage_limit_s:
                found = info.model_version
                raise JudgeGone(
                    f"the policy server at {self.config.target} still has {found.model_name} "
                    f"{found.checkpoint_digest[:12]} of update {found.policy_version} (outage_limit_s = "
                    f"{self.config.outage_limit_s:g}), and the run has published {digest[:12]}: it must be given the "
                    "run's checkpoints directory, and --follow-seconds"
                )
            time.sleep(LOOK_AGAIN_S)
        self._check(info)

    def sample(
        self, questions: Sequence[Ids], *, answers_per_question: int, max_answer_tokens: int, temperature: float,
        seed: int,
    ) -> list[Ids]:  # fmt: skip
        """Answers question by question; `seed` is unsigned, of 64 bits.

        Raises JudgeGone when the server does not have the weights in time.
        """

        def call() -> list[Ids]:
            try:
                reply = self._client.generate(
                    questions,
                    answers_per_question=answers_per_question,
                    max_answer_tokens=max_answer_tokens,
                    temperature=temperature,
                    seed=(seed + 2**63) % 2**64 - 2**63,  # the same bits, signed
                    expected_checkpoint_digest=self._digest,
                )
            except DigestMismatch as error:  # another replica, which has not swapped yet
                raise Unavailable(str(error), target=self.config.target) from error
            return [answer.tokens.answer_ids for row in reply.answers for answer in row]

        return self.patiently(call)

    def close(self) -> None:
        self._client.close()

    def _check(self, info: ModelInfo) -> None:
        if info.tokenizer_fingerprint != self._encoder.fingerprint:
            raise JudgeMisfit(f"the policy at {self.config.target} has another tokenizer than policy.path")
        if info.dtype != DTYPE:
            raise JudgeMisfit(
                f"the policy at {self.config.target} computes in {info.dtype}, and the run in {DTYPE}: it would sample "
                f"from other probabilities than those that are trained; serve it with --dtype {DTYPE}"
            )
