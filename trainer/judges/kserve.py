"""A reward model on any server of the Open Inference Protocol (KServe v2): Triton, KServe, PyTriton, or our own.

Inputs `question` and `answer` (BYTES, one text a row), output `score` (FP32, one number a row). The protocol names
no weights and no tokenizer, so text is sent and the model's version is pinned instead of a digest. The messages are
Triton's, as tritonclient brings them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from rewardplane.errors import DigestMismatch, ServerFault, Unavailable, Unimplemented
from rewardplane.retry import Attempts, Deadline, RetryPolicy
from rewardplane.wire import ChatPair, Pair, TextPair

from .config import JudgeConfig
from .connection import security_of
from .kserve_channel import SecuredChannel
from .kserve_signature import ANSWER, DIGEST, QUESTION, SCORE, Signature, read_signature
from .patience import JudgeMisfit
from .score_server import Identity

log = logging.getLogger(__name__)

REQUESTS_IN_FLIGHT = 4


class KServeScores:
    """A model of a KServe v2 server, asked in batches of at most its max_batch_size."""

    def __init__(self, config: JudgeConfig) -> None:
        assert config.kserve is not None
        self._target = config.target
        self._timeout_s = config.timeout_s
        self._model = config.kserve.model
        self._channel = SecuredChannel(config.kserve.address, security_of(config))
        self._pool = ThreadPoolExecutor(REQUESTS_IN_FLIGHT, thread_name_prefix="kserve")
        self._signature: Signature  # set by `identify`

    def identify(self) -> Identity:
        deadline = Deadline(self._timeout_s)
        self._signature = read_signature(self._metadata(deadline), self._config(deadline), self._target)
        version, digest = self._signature.version, self._signature.digest
        if not digest:
            log.warning(
                "the reward judge %s tells neither a digest of its weights nor its tokenizer: the run pins version "
                "'%s' of the model, sends text, and cannot notice weights that are replaced under the same version",
                self._target, version,
            )  # fmt: skip
        return Identity(digest or f"{self._model}:{version}", same_tokens=False)

    def scores(self, pairs: Sequence[Pair], digest: str) -> NDArray[np.float32]:
        deadline = Deadline(self._timeout_s)
        texts = [self._text(pair) for pair in pairs]
        size = self._signature.max_pairs
        starts = range(0, len(texts), size)
        parts = self._pool.map(lambda start: self._score(texts[start : start + size], start, deadline), starts)
        return np.concatenate([np.empty(0, np.float32), *parts])

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._channel.close()

    def _score(self, pairs: Sequence[TextPair], first: int, deadline: Deadline) -> NDArray[np.float32]:
        """One request; `first` is the index of its first pair in the whole call."""
        request = service_pb2.ModelInferRequest(model_name=self._model, model_version=self._signature.version)
        columns = ((QUESTION, [pair.question for pair in pairs]), (ANSWER, [pair.answer for pair in pairs]))
        for name, texts in columns:
            request.inputs.add(name=name, datatype="BYTES", shape=self._signature.shape(name, len(texts)))
            elements = np.array([text.encode() for text in texts], object)
            request.raw_input_contents.append(serialize_byte_tensor(elements).item())
        request.outputs.add(name=SCORE)
        try:
            response = self._call("ModelInfer", request, deadline, first)
        except Unavailable as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                self._check_version(self._metadata(deadline))
            raise
        self._check_weights(response)
        return self._read(response, len(pairs), first)

    def _read(self, response: Any, pairs: int, first: int) -> NDArray[np.float32]:
        scores = _scores(response)
        if len(scores) != pairs:
            raise self._fault(f"the reply to {pairs} pairs has {len(scores)} scores; wanted is FP32 [{pairs}, 1]", "")
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise self._fault(f"pairs[{first + bad[0]}]: the score is {scores[bad[0]]}", "NON_FINITE_SCORE")
        return scores

    def _fault(self, message: str, reason: str) -> ServerFault:
        return ServerFault(message, reason=reason, target=self._target)

    def _check_weights(self, response: Any) -> None:
        digest = response.parameters[DIGEST].string_param if DIGEST in response.parameters else ""
        for kind, pinned, found in (
            ("version", self._signature.version, response.model_version),
            ("weights", self._signature.digest, digest),
        ):
            if pinned and found and pinned != found:
                raise DigestMismatch(
                    f"model '{self._model}' has {kind} {found[:12]}, and the run began with {pinned[:12]}",
                    target=self._target,
                )

    def _text(self, pair: Pair) -> TextPair:
        if isinstance(pair, TextPair):
            return pair
        assert isinstance(pair, ChatPair), "token ids are sent to servers that take them"
        if len(pair.messages) == 1 and pair.messages[0].role == "user":
            return TextPair(pair.messages[0].content, pair.answer)
        raise JudgeMisfit(
            f"{self._target} takes a question as one text, and this one is a conversation of {len(pair.messages)} "
            "messages: serve the reward model with rewardplane, or write questions as texts"
        )

    def _check_version(self, metadata: Any) -> None:
        """Raises DigestMismatch when other versions than the pinned one are served."""
        if metadata.versions and self._signature.version not in metadata.versions:
            raise DigestMismatch(
                f"model '{self._model}' has the versions {', '.join(metadata.versions)}, and the run began with "
                f"{self._signature.version}",
                target=self._target,
            )

    def _metadata(self, deadline: Deadline) -> Any:
        return self._call("ModelMetadata", service_pb2.ModelMetadataRequest(name=self._model), deadline)

    def _config(self, deadline: Deadline) -> Any:
        """The model's configuration; None from servers that have none to give, such as KServe's in Python."""
        try:
            request = service_pb2.ModelConfigRequest(name=self._model)
            return self._call("ModelConfig", request, deadline).config
        except Unimplemented:
            return None

    def _call(self, method: str, request: Any, deadline: Deadline, first: int = 0) -> Any:
        """One RPC, tried again until the deadline as rewardplane.Client does.

        A model that is not there may yet come, which is Unavailable: a Triton under model control opens its port
        before it loads its models.
        """
        attempts = Attempts(RetryPolicy(), [self._target], deadline, first)
        while True:
            try:
                return self._channel.call(method, request, timeout_s=deadline.remaining_s())
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    raise Unavailable(error.details() or "", target=self._target, code=error.code()) from error
                pause_s = attempts.pause_s(error)
            time.sleep(pause_s)


def _scores(response: Any) -> NDArray[np.float32]:  # [n]
    """The output `score`, raw or typed; empty where there is none. (tritonclient reads typed numbers as none.)"""
    for index, output in enumerate(response.outputs):
        if output.name == SCORE and output.datatype == "FP32":
            if index < len(response.raw_output_contents):
                raw = response.raw_output_contents[index]
                return np.frombuffer(raw[: len(raw) // 4 * 4], "<f4").astype(np.float32)
            return np.array(output.contents.fp32_contents, np.float32)
    return np.empty(0, np.float32)
