"""The engine: one model behind one batcher, and all that a wire protocol needs to know of it.

Every servicer, of rewardplane.v1 and of KServe v2, calls these methods and nothing below them. A reply is
computed by one set of weights from end to end, also while others are swapped in, and names them.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from rewardplane.errors import Unavailable
from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.sampling import Sampling
from rewardplane.v1 import model_service_pb2, types_pb2
from rewardplane.wire import MalformedPair, Pair, Question, TokenPair

from . import validation
from .background import TokenizerThread
from .compute import Compute
from .config import ServerConfig
from .gate import Gate
from .generation import GeneratedAnswer
from .info import describe, pair_limit
from .model_metrics import ScoreMetrics
from .pins import NO_PINS, Pins
from .role import Capability, Role
from .served_model import Floats, ServedModel

ModelVersion = types_pb2.ModelVersion
ReferenceSums = Callable[[Sequence[TokenPair], str, float | None], Awaitable[NDArray[np.float32]]]
"""Summed log-probs of pairs under the frozen reference; takes their tokenizer's fingerprint and the seconds left."""


class Engine:
    """A model that is being loaded, serves, or drains. Lives on one event loop.

    Calls raise the exceptions of `faults` (rewardplane.errors): Unavailable with LOADING, DRAINING or QUEUE_FULL,
    QuotaExceeded, PermissionDenied, InvalidFields, DigestMismatch, TokenizerMismatch, Unimplemented, DeadlineExceeded,
    ServerFault. A MalformedPair among the inputs stands for one that could not be read; it is reported with the other
    bad ones. `deadline_s` counts from now. A caller that goes away cancels its call, and its pairs leave the queue.
    """

    def __init__(
        self,
        role: Role,
        config: ServerConfig,
        name: str,
        registry: CollectorRegistry,
        reference_sums: ReferenceSums | None = None,
    ) -> None:
        self.role = role
        self.config = config
        self.capabilities: frozenset[Capability] = role.capabilities
        self._name = name
        self._last_version: ModelVersion | None = None
        self._reference_sums = reference_sums
        self._gate = Gate(role, registry)
        self._compute = Compute(config, registry)
        self._tokenizer = TokenizerThread(config.queue_tokens, shared=config.access is not None)
        self._scores = ScoreMetrics(registry)

    @property
    def name(self) -> str:
        """What the model is called; the directory's name until it is first loaded."""
        version = self.last_version
        return version.model_name if version else self._name

    @property
    def last_version(self) -> ModelVersion | None:
        """The version that answers now, or answered last; None until one is loaded."""
        return self._compute.model.version if self._compute.model else self._last_version

    @property
    def ready(self) -> bool:
        """Whether calls are accepted."""
        return self._gate.loaded and not self._gate.draining

    @property
    def unloaded(self) -> bool:
        """Whether the model was withdrawn, and waits to be loaded again."""
        return self._gate.unloaded

    @property
    def has_model(self) -> bool:
        """Whether weights are in memory."""
        return self._compute.model is not None

    @property
    def model(self) -> ServedModel:
        """The model that answers now. Raises Unavailable (LOADING, UNLOADED)."""
        if self._compute.model is None:
            raise self.why_not_ready()
        return self._compute.model

    def why_not_ready(self) -> Unavailable:
        """What calls get while there is no model for them."""
        return self._gate.why_not_ready(self.name)

    def info(self) -> model_service_pb2.ModelInfo:
        """Raises Unavailable (LOADING, UNLOADED)."""
        implicit = self._reference_sums is not None
        kind = model_service_pb2.SCORE_KIND_IMPLICIT_REWARD if implicit else self.role.score_kind
        return describe(self.model, kind, self.config)

    def model_version(self) -> ModelVersion:
        """Raises Unavailable (LOADING, UNLOADED)."""
        return self.model.version

    async def score(
        self, pairs: Sequence[Pair | MalformedPair], *, deadline_s: float | None = None, pins: Pins = NO_PINS
    ) -> tuple[NDArray[np.float32], ModelVersion]:
        """float32[n]: one score a pair, in order."""
        expires_at_s = self._expiry(deadline_s)
        with self._gate.call("score", self.name):
            encoded = await self._encode_pairs(pairs, pins)
            reference = self._ask_reference(encoded, deadline_s)
            try:
                outputs, model = await self._compute.outputs(encoded, 1.0, expires_at_s=expires_at_s)
                pins.check_version(model.version)
                scores = np.array([model.score(output) for output in outputs], np.float32)
                if reference:
                    scores = np.float32(self.config.kl_coef) * (scores - await reference)
            finally:
                if reference:
                    reference.cancel()
        self._scores.observe(scores, model.version.model_name)
        return scores, model.version

    async def logprobs(
        self,
        pairs: Sequence[Pair | MalformedPair],
        *,
        temperature: float = 1.0,
        deadline_s: float | None = None,
        pins: Pins = NO_PINS,
    ) -> tuple[list[Floats], ModelVersion]:
        """float32[A] for each pair, nats, with logits divided by `temperature`."""
        expires_at_s = self._expiry(deadline_s)
        with self._gate.call("logprobs", self.name):
            validation.check_temperature(temperature)
            encoded = await self._encode_pairs(pairs, pins)
            outputs, model = await self._compute.outputs(encoded, temperature, expires_at_s=expires_at_s)
            pins.check_version(model.version)
        return outputs, model.version

    async def generate(
        self,
        questions: Sequence[Question | MalformedPair],
        *,
        answers_per_question: int = 1,
        max_answer_tokens: int,
        temperature: float = 1.0,
        seed: int | None = None,
        deadline_s: float | None = None,
        pins: Pins = NO_PINS,
    ) -> tuple[list[GeneratedAnswer], ModelVersion]:
        """Answers question by question, `answers_per_question` each. Without a seed the server chooses one."""
        expires_at_s = self._expiry(deadline_s)
        with self._gate.call("generate", self.name):
            validation.check_at_least_one("answers_per_question", answers_per_question)
            validation.check_at_least_one("max_answer_tokens", max_answer_tokens)
            validation.check_temperature(temperature, greedy_is_allowed=True)
            rows = len(questions) * answers_per_question
            validation.check_count("questions", rows, self.config.max_request_pairs)
            encoder, limit = self.model.encoder, pair_limit(self.model, self.config)
            pins.check(self.model, questions)
            encoded = await self._tokenizer.run(
                lambda: validation.encode_questions(questions, encoder, limit, max_answer_tokens),
                validation.text_length(questions),
            )
            sampling = Sampling(max_answer_tokens, temperature, secrets.randbits(63) if seed is None else seed)
            self._gate.callers.count_tokens(sum(map(len, encoded)))
            pairs, logprobs, model = await self._compute.answers(
                encoded, answers_per_question, sampling, expires_at_s=expires_at_s
            )
            pins.check_version(model.version)
            self._gate.callers.count_tokens(sum(len(pair.answer_ids) for pair in pairs))
            texts = await self._tokenizer.run(lambda: [encoder.decode(pair.answer_ids) for pair in pairs], 0)
        answers = [
            GeneratedAnswer(pair.question_ids, pair.answer_ids, text, logprob, encoder.ended(pair.answer_ids))
            for pair, text, logprob in zip(pairs, texts, logprobs, strict=True)
        ]
        return answers, model.version

    async def load(self, load: Callable[[], ServedModel]) -> None:
        """Loads the model on the compute thread, and serves it. Raises what loading raises."""
        self._compute.model = await self._compute.batcher.run_alone(load)
        self._gate.loaded, self._gate.unloaded = True, False

    def withdraw(self) -> None:
        """Refuses calls from now on with UNLOADED; those that are inside go on."""
        self._gate.loaded, self._gate.unloaded = False, True

    async def release(self) -> None:
        """Waits until a withdrawn model has answered the calls that are inside, and lets go of it."""
        await self._gate.idle()
        self._last_version = self.last_version
        self._compute.model = None

    def expect(self) -> None:
        """Refuses calls with LOADING and no longer with UNLOADED: `load` comes next."""
        self._gate.unloaded = False

    def replace(self, model: ServedModel) -> None:
        """From the next batch on, this model answers; no call notices.

        Raises BadCheckpoint when token ids that are under way would mean something else to it.
        """
        old, new = self.model.encoder, model.encoder
        if (old.fingerprint, old.stop_token_ids, old.vocabulary_size) != (
            new.fingerprint,
            new.stop_token_ids,
            new.vocabulary_size,
        ):
            raise BadCheckpoint(
                f"{model.version.model_name} has another tokenizer or other stop tokens than {self.name}, "
                "which is being served: start a server of its own for it"
            )
        self._compute.model = model

    async def drain(self, timeout_s: float) -> bool:
        """Refuses new calls, and waits for those in flight. Says whether all of them ended."""
        return await self._gate.drain(timeout_s)

    async def stop(self) -> None:
        """Ends the threads."""
        self._tokenizer.stop()
        await asyncio.to_thread(self._compute.batcher.stop)

    def _expiry(self, deadline_s: float | None) -> float:
        longest_s = self.config.max_deadline_seconds
        return time.monotonic() + (longest_s if deadline_s is None else min(deadline_s, longest_s))

    def _ask_reference(
        self, pairs: Sequence[TokenPair], deadline_s: float | None
    ) -> asyncio.Future[NDArray[np.float32]] | None:
        if self._reference_sums is None:
            return None
        return asyncio.ensure_future(self._reference_sums(pairs, self.model.encoder.fingerprint, deadline_s))

    async def _encode_pairs(self, pairs: Sequence[Pair | MalformedPair], pins: Pins) -> list[TokenPair]:
        validation.check_count("pairs", len(pairs), self.config.max_request_pairs)
        encoder, limit = self.model.encoder, pair_limit(self.model, self.config)
        pins.check(self.model, pairs)
        self._compute.batcher.require_room(len(pairs))  # under a flood, not even tokenized
        if chars := validation.text_length(pairs):
            encoded = await self._tokenizer.run(lambda: validation.encode_pairs(pairs, encoder, limit), chars)
        else:
            encoded = validation.encode_pairs(pairs, encoder, limit)
        self._gate.callers.count_tokens(sum(len(pair.question_ids) + len(pair.answer_ids) for pair in encoded))
        return encoded
