"""The parameters of an inference request: Triton's reserved ones, and ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardplane.errors import InvalidRequest

from ..pins import Pins

RESERVED_PREFIX = "triton_"
RESERVED_KINDS: dict[str, tuple[str, ...]] = {
    "timeout": ("int64_param",),
    "priority": ("int64_param", "uint64_param"),
    "sequence_id": ("int64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "triton_enable_empty_final_response": ("bool_param",),
    "temperature": ("double_param", "int64_param", "uint64_param"),
    "expected_checkpoint_digest": ("string_param",),
    "tokenizer_fingerprint": ("string_param",),
}
"""Which kinds of value a parameter may have; others are for anybody's use and change nothing."""


@dataclass(frozen=True)
class Parameters:
    """What a request's parameters ask for."""

    timeout_s: float | None
    """How long the request may wait for its scores; None has no limit of its own."""
    temperature: float
    """Of log-probs."""
    pins: Pins


def read_parameters(parameters: Mapping[str, Any]) -> Parameters:
    """Reads ModelInferRequest.parameters. Raises InvalidRequest.

    There are no sequences and no priorities here: those parameters are checked and then ignored, as by a
    Triton whose model has neither.
    """
    values = {key: _value(key, parameter) for key, parameter in parameters.items()}
    timeout_us = values.get("timeout", 0)
    if timeout_us < 0:
        raise InvalidRequest(
            f"'timeout' is {timeout_us}; it must be 0 (none) or microseconds", reason="INVALID_PARAMETER"
        )
    return Parameters(
        timeout_s=timeout_us / 1e6 if timeout_us else None,
        temperature=float(values.get("temperature", 1.0)),
        pins=Pins(values.get("expected_checkpoint_digest", ""), values.get("tokenizer_fingerprint", "")),
    )


def typed_value(key: str, parameter: Any, kinds: tuple[str, ...], *, where: str = "") -> Any:
    """The value of an InferParameter of one of some kinds. Raises InvalidRequest for any other kind."""
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in kinds:
        raise InvalidRequest(
            f"invalid value type for '{key}' parameter{where}, expected {' or '.join(kinds)}.",
            reason="INVALID_PARAMETER",
        )
    return getattr(parameter, kind)


def _value(key: str, parameter: Any) -> Any:
    if key in RESERVED_KINDS:
        return typed_value(key, parameter, RESERVED_KINDS[key])
    if key.startswith(RESERVED_PREFIX):
        raise InvalidRequest(
            f"parameter keys starting with '{RESERVED_PREFIX}' are reserved for Triton usage; '{key}' is none of them",
            reason="INVALID_PARAMETER",
        )
    return typed_value(key, parameter, ("int64_param", "bool_param", "string_param", "double_param", "uint64_param"))
