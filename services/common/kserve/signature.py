"""What a served model looks like in KServe v2: its name, version, inputs and outputs."""

from __future__ import annotations

import re

import grpc

from rewardplane.errors import InvalidRequest, RewardplaneError, Unavailable
from rewardplane.v1 import types_pb2

from ..engine import Engine
from .tensors import TensorSpec

QUESTION = TensorSpec("question", "BYTES", (1,), flat=True)
ANSWER = TensorSpec("answer", "BYTES", (1,), flat=True)
QUESTION_IDS = TensorSpec("question_ids", "INT32", (-1,))
QUESTION_LENGTHS = TensorSpec("question_lengths", "INT32", (1,), flat=True)
ANSWER_IDS = TensorSpec("answer_ids", "INT32", (-1,))
ANSWER_LENGTHS = TensorSpec("answer_lengths", "INT32", (1,), flat=True)

TEXT_FORM = (QUESTION, ANSWER)
IDS_FORM = (QUESTION_IDS, QUESTION_LENGTHS, ANSWER_IDS, ANSWER_LENGTHS)
"""Ids are right-padded with anything; the lengths say where the padding begins."""
INPUTS = {spec.name: spec for spec in (*TEXT_FORM, *IDS_FORM)}

SCORE = TensorSpec("score", "FP32", (1,))
LOGPROBS = TensorSpec("logprobs", "FP32", (-1,))
LOGPROB_LENGTHS = TensorSpec("logprob_lengths", "INT32", (1,))

_INTEGER = re.compile(r"\s*[+-]?\d+")  # what C++'s stol reads: it ignores what comes after the digits
LONGEST_NUMBER = 20
"""Characters; stol fails above 64 bits, and Python's int above 4300 digits."""


def outputs(engine: Engine) -> tuple[TensorSpec, ...]:
    """The outputs of the served model, by its capabilities."""
    score = (SCORE,) if "score" in engine.capabilities else ()
    logprobs = (LOGPROBS, LOGPROB_LENGTHS) if "logprobs" in engine.capabilities else ()
    return score + logprobs


def kserve_version(version: types_pb2.ModelVersion) -> str:
    """The update number; clients insist on integers above 0, so a model without PPO is version 1."""
    return str(max(1, version.policy_version))


def parse_version(text: str) -> int | None:
    """Reads a requested version; "" is any. Raises InvalidRequest for what is no number, or is negative."""
    if not text:
        return None
    number = _INTEGER.match(text)
    if number is None or len(number.group()) > LONGEST_NUMBER:
        raise InvalidRequest(
            f"failed to get model version from specified version string '{text}', "
            "version should be an integral value > 0",
            reason="INVALID_VERSION",
        )
    if int(number.group()) < 0:
        raise InvalidRequest(
            f"invalid model version specified '{text}' , version should be an integral value > 0",
            reason="INVALID_VERSION",
        )
    return int(number.group())


def unknown_model(name: str) -> RewardplaneError:
    """The fault for a model that is not here."""
    return _not_found(f"Request for unknown model: '{name}' is not found", reason="UNKNOWN_MODEL")


def unknown_version(name: str, version: object) -> RewardplaneError:
    """The fault for a version that is not, or no longer, the served one."""
    return _not_found(f"Request for unknown model: '{name}' version {version} is not found", reason="UNKNOWN_VERSION")


def check_model(engine: Engine, name: str, version: str) -> str:
    """Gives the served version. Raises NOT_FOUND when another model or version is asked for, Unavailable while the
    model loads, and when it is unloaded either, as Triton does."""
    if name != engine.name:
        raise unknown_model(name)
    if engine.unloaded:
        raise _unloaded(engine, parse_version(version))
    served = kserve_version(engine.model_version())
    wanted = parse_version(version)
    if wanted is not None and str(wanted) != served:
        raise unknown_version(name, wanted)
    return served


def _unloaded(engine: Engine, wanted: int | None) -> RewardplaneError:
    if wanted is None:
        return _not_found(f"Request for unknown model: '{engine.name}' has no available versions", reason="UNLOADED")
    assert engine.last_version, "what was unloaded was loaded before"
    if str(wanted) != kserve_version(engine.last_version):
        return unknown_version(engine.name, wanted)
    return Unavailable(
        f"Request for unknown model: '{engine.name}' version {wanted} is not at ready state", reason="UNLOADED"
    )


def _not_found(message: str, *, reason: str) -> RewardplaneError:
    return RewardplaneError(message, reason=reason, code=grpc.StatusCode.NOT_FOUND)
