"""How a call fails: exceptions with a gRPC code and a reason, and the google.rpc.Status that they become.

Handlers raise the exceptions of `rewardplane.errors`, the same that clients raise from what arrives. The
reasons are listed, with what a caller should do, in docs/serving.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from rewardplane.errors import (
    ERROR_DOMAIN,
    DeadlineExceeded,
    InvalidRequest,
    PermissionDenied,
    QuotaExceeded,
    RewardplaneError,
    ServerFault,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

Fault = RewardplaneError
"""What a handler raises; `.code`, `.reason` and `.message` go to the caller."""

REASONS = (
    "LOADING",
    "UNLOADED",
    "DRAINING",
    "QUEUE_FULL",
    "DEADLINE_PASSED",
    "REQUEST_TOO_SLOW",
    "MALFORMED_REQUEST",
    "INVALID_PAIRS",
    "INVALID_QUESTIONS",
    "INVALID_TEMPERATURE",
    "INVALID_COUNT",
    "TOO_MANY_PAIRS",
    "TOKENIZER_FINGERPRINT_REQUIRED",
    "TOKENIZER_MISMATCH",
    "CHECKPOINT_DIGEST_MISMATCH",
    "CAPABILITY_NOT_SERVED",
    "REFERENCE_UNAVAILABLE",
    "REFERENCE_FAILED",
    "NON_FINITE_SCORE",
    "FORWARD_FAILED",
    "OUT_OF_MEMORY",
    "UNEXPECTED",
    "QUOTA_EXCEEDED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
)
"""Every ErrorInfo.reason that a server sends."""

Violation = tuple[str, str]
"""A field of the request ("pairs[3]") and what is wrong with it."""

MAX_VIOLATIONS_BYTES = 5000
MAX_MESSAGE_BYTES = 600
"""gRPC refuses trailing metadata above 8 KiB unless a client asks for more, and the whole status must fit. Its message
is there twice, once with three bytes for each that is not ASCII."""

_FRAMING_BYTES = 3  # tag and length of a field of up to 16 KiB
MAX_NAMED_IN_MESSAGE = 4


class InvalidFields(InvalidRequest):
    """A request with bad fields; all of them are named, not only the first."""

    def __init__(self, violations: Sequence[Violation], *, reason: str) -> None:
        named = "; ".join(f"{field}: {what}" for field, what in violations[:MAX_NAMED_IN_MESSAGE])
        more = len(violations) - MAX_NAMED_IN_MESSAGE
        super().__init__(named + (f"; and {more} more" if more > 0 else ""), reason=reason)
        self.violations = tuple(violations)


def invalid_field(field: str, what: str, *, reason: str) -> InvalidFields:
    return InvalidFields([(field, what)], reason=reason)


def malformed_request() -> InvalidRequest:
    return InvalidRequest("the bytes of the request are no message of its type", reason="MALFORMED_REQUEST")


def loading(model: str) -> Unavailable:
    return Unavailable(f"{model} is still being loaded", reason="LOADING", retry_after_s=2.0)


def unloaded(model: str) -> Unavailable:
    return Unavailable(
        f"{model} is unloaded until somebody loads it again: ask another replica", reason="UNLOADED", retry_after_s=2.0
    )


def nothing_to_load(model: str, why: object) -> ServerFault:
    return ServerFault(f"failed to load '{model}', failed to poll from model repository: {why}", reason="LOAD_FAILED")


def load_failed(model: str, why: object) -> InvalidRequest:
    return InvalidRequest(f"load failed for model '{model}': {why}", reason="LOAD_FAILED")


def draining(model: str) -> Unavailable:
    return Unavailable(
        f"this server of {model} is shutting down: ask another replica", reason="DRAINING", retry_after_s=1.0
    )


def queue_full(queued_tokens: int, limit: int, retry_after_s: float) -> Unavailable:
    return Unavailable(
        f"the queue holds {queued_tokens} tokens and takes at most {limit}; it is empty in about {retry_after_s:.1f} s",
        reason="QUEUE_FULL",
        retry_after_s=retry_after_s,
    )


def quota_exceeded(tokens_per_s: float, retry_after_s: float) -> QuotaExceeded:
    return QuotaExceeded(
        f"your quota of {tokens_per_s:g} tokens a second is used up; come again in {retry_after_s:.2f} s",
        reason="QUOTA_EXCEEDED",
        retry_after_s=retry_after_s,
    )


def deadline_passed() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline passed in the queue, before the forward pass", reason="DEADLINE_PASSED")


def request_too_slow(limit_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the request did not arrive within {limit_s:g} s of the call's beginning (--receive-seconds)",
        reason="REQUEST_TOO_SLOW",
    )


def non_finite(index: int, what: str) -> ServerFault:
    return ServerFault(
        f"pairs[{index}]: the model's {what} is not finite (NaN or infinite); it is not sent. "
        "The weights overflow on this input: try --dtype float32",
        reason="NON_FINITE_SCORE",
    )


def forward_failed(error: Exception) -> ServerFault:
    return ServerFault(
        f"the forward pass failed with {type(error).__name__}; the server's log has the details",
        reason="FORWARD_FAILED",
    )


def out_of_memory(what: str) -> ServerFault:
    return ServerFault(
        f"{what}: memory ran out: send less at once, or let the server accept less (--max-pair-tokens, "
        "--max-generation-rows)",
        reason="OUT_OF_MEMORY",
    )


def not_served(capability: str, role: str) -> Unimplemented:
    return Unimplemented(
        f"this is a {role} server, which has no {capability}; docs/serving.md says which role has",
        reason="CAPABILITY_NOT_SERVED",
    )


def unauthenticated() -> Unauthenticated:
    return Unauthenticated("this server wants credentials that it knows", reason="UNAUTHENTICATED")


def not_allowed() -> PermissionDenied:
    return PermissionDenied("these credentials do not allow this call", reason="PERMISSION_DENIED")


def unexpected() -> ServerFault:
    return ServerFault("the server failed; its log has the details", reason="UNEXPECTED")


def to_status(fault: Fault) -> status_pb2.Status:
    """The status of a failed call: one ErrorInfo, and BadRequest or RetryInfo where they apply."""
    details: list[Message] = []
    if fault.reason:
        details.append(error_details_pb2.ErrorInfo(reason=fault.reason, domain=ERROR_DOMAIN))
    if isinstance(fault, InvalidFields):
        details.append(_bad_request(fault.violations))
    if isinstance(fault, (Unavailable, QuotaExceeded)) and fault.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(fault.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(
        code=fault.code.value[0], message=_cut(fault.message), details=[_packed(detail) for detail in details]
    )


def _cut(message: str) -> str:
    encoded = message.encode(errors="replace")
    if len(encoded) <= MAX_MESSAGE_BYTES:
        return message
    return encoded[:MAX_MESSAGE_BYTES].decode(errors="ignore") + "..."


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest:
    """Every violation by its field, and with its description while that fits."""
    named: list[error_details_pb2.BadRequest.FieldViolation] = []
    left = MAX_VIOLATIONS_BYTES
    for field, _ in violations:
        named.append(error_details_pb2.BadRequest.FieldViolation(field=field))
        left -= named[-1].ByteSize() + _FRAMING_BYTES
        if left < 0:
            named.pop()
            break
    for violation, (_, what) in zip(named, violations, strict=False):
        left -= len(what.encode()) + _FRAMING_BYTES
        if left < 0:
            break
        violation.description = what
    return error_details_pb2.BadRequest(field_violations=named)
