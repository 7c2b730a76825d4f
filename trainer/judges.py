"""The two judges of PPO, reached over gRPC: a reward model and the frozen reference.

A judge that is down, slow or overloaded pauses the run and changes no number in it: its answers are pure
functions of the pairs, and the weights are pinned by digest when the run starts. Anything else (another
digest, another tokenizer, a non-finite score) stops the run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from rewardplane import Client
from rewardplane.errors import DeadlineExceeded, DigestMismatch, RewardplaneError, Unavailable
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.results import ModelInfo, ScoreKind
from rewardplane.wire import ChatPair, Pair, TextPair, TokenPair

from .config import Section
from .data import Question

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0


class JudgeMisfit(ValueError):
    """A judge that this run cannot use: another tokenizer, or no score."""


class JudgeGone(RuntimeError):
    """A judge that did not answer for longer than `outage_limit_s`."""


class JudgeConfig(Section):
    """One judge."""

    target: str
    """Address: "host:port", or a DNS name of several replicas, "dns:///reward.rlhf:8500"."""
    timeout_s: PositiveFloat = 60.0
    """Deadline of one call, retries within it included."""
    outage_limit_s: NonNegativeFloat = 1800.0
    """How long the run waits for a judge that does not answer before it gives up."""


@dataclass
class Outages:
    """What a judge's failures have cost the run."""

    retries: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seconds: float) -> None:
        with self._lock:
            self.retries += 1
            self.seconds += seconds


class Judge:
    """A judge's address, its pinned weights, and the patience to wait for it."""

    def __init__(self, role: str, config: JudgeConfig, encoder: PairEncoder) -> None:
        self.role = role
        self.config = config
        self.outages = Outages()
        self.client = Client(config.target, timeout_s=config.timeout_s, tokenizer_fingerprint=encoder.fingerprint)
        self.info: ModelInfo = self.patiently(self.client.info)

    @property
    def digest(self) -> str:
        return self.info.model_version.checkpoint_digest

    def require(self, digest: str) -> None:
        """Raises DigestMismatch when the judge has other weights than those of this digest."""
        if self.digest != digest:
            raise DigestMismatch(
                f"the {self.role} judge has weights {self.digest[:12]}, and the run began with {digest[:12]}",
                target=self.config.target,
            )

    def patiently(self, call: Callable[[], T]) -> T:
        """Calls until the judge answers. Raises JudgeGone after `outage_limit_s` of trying."""
        began = time.monotonic()
        pause = FIRST_PAUSE_S
        while True:
            asked = time.monotonic()
            try:
                answer = call()
            except (Unavailable, DeadlineExceeded) as error:
                self._outage(error, began, pause)
                time.sleep(pause)
                self.outages.add(time.monotonic() - asked)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                if self.outages.retries and pause > FIRST_PAUSE_S:
                    waited = time.monotonic() - began
                    log.warning("%s judge at %s answers again after %.1f s", self.role, self.config.target, waited)
                return answer

    def _outage(self, error: RewardplaneError, began: float, pause: float) -> None:
        waited = time.monotonic() - began
        if waited + pause > self.config.outage_limit_s:
            raise JudgeGone(
                f"the {self.role} judge at {self.config.target} has not answered for {waited:.0f} s "
                f"(outage_limit_s = {self.config.outage_limit_s:g}): {error}"
            ) from error
        log.error(
            "the %s judge at %s does not answer (%s); the run waits for it, for %.0f s more at most",
            self.role, self.config.target, error, self.config.outage_limit_s - waited,
        )  # fmt: skip

    def close(self) -> None:
        self.client.close()


class ReferenceJudge(Judge):
    """The frozen SFT model: log-probs of answers. It must have the policy's tokenizer."""

    def __init__(self, config: JudgeConfig, encoder: PairEncoder) -> None:
        super().__init__("reference", config, encoder)
        if self.info.tokenizer_fingerprint != encoder.fingerprint:
            self.close()
            raise JudgeMisfit(
                f"the reference at {config.target} has tokenizer {self.info.tokenizer_fingerprint[:12]}, "
                f"the policy {encoder.fingerprint[:12]}: log-probs of different tokens cannot be compared"
            )

    def logprobs(self, pairs: Sequence[TokenPair], temperature: float) -> list[Tensor]:  # float32[A] each
        reply = self.patiently(
            lambda: self.client.logprobs(pairs, temperature=temperature, expected_checkpoint_digest=self.digest)
        )
        return [torch.from_numpy(values) for values in reply.values]


class RewardJudge(Judge):
    """The reward model: one score an answer. With another tokenizer than the policy's it is sent text."""

    def __init__(self, config: JudgeConfig, encoder: PairEncoder) -> None:
        super().__init__("reward", config, encoder)
        self.encoder = encoder
        if self.info.score_kind is ScoreKind.NONE:
            self.close()
            raise JudgeMisfit(f"the server at {config.target} does not score: is it the reference?")
        self.same_tokens = self.info.tokenizer_fingerprint == encoder.fingerprint

    def scores(self, questions: Sequence[Question], pairs: Sequence[TokenPair]) -> Tensor:  # float32[n]
        sent: Sequence[Pair] = pairs
        if not self.same_tokens:
            sent = [self._as_text(q, pair) for q, pair in zip(questions, pairs, strict=True)]
        reply = self.patiently(lambda: self.client.score(sent, expected_checkpoint_digest=self.digest))
        return torch.from_numpy(reply.values)

    def _as_text(self, question: Question, pair: TokenPair) -> Pair:
        # An answer that is nothing but the stop token has no text; servers refuse an empty one.
        answer = self.encoder.decode_answer(pair) or " "
        return TextPair(question, answer) if isinstance(question, str) else ChatPair(question, answer)
