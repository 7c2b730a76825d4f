"""Reads a failed RPC's `google.rpc.Status` back into the exceptions of rewardplane.errors."""

from __future__ import annotations

import re
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rewardplane import errors

_INDEX = re.compile(r"\b(pairs|questions)\[(\d+)\]")

_PLAIN: dict[grpc.StatusCode, type[errors.RewardplaneError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unimplemented,
}

_TOO_MANY_CALLS = "Concurrent RPC limit exceeded!"
"""What grpcio's own server says, with the code for messages that are too large. Another replica may have room."""

_PRECONDITIONS = {kind.default_reason: kind for kind in (errors.DigestMismatch, errors.TokenizerMismatch)}


def error_from_rpc(
    rpc_error: grpc.RpcError,
    target: str,
    first_index: int = 0,  # index, in the caller's batch, of the request's first pair
) -> errors.RewardplaneError:
    """Gives the exception for a failed RPC, its indices counted in the caller's batch, not the request's."""
    code = rpc_error.code()
    details = _details(rpc_error)
    message = _renumbered(rpc_error.details() or "the server gave no details", first_index)
    info = details.get("ErrorInfo")
    said: dict[str, Any] = {"reason": info.reason if info else "", "target": target, "code": code}
    retry = details.get("RetryInfo")
    retry_after_s = retry.retry_delay.ToTimedelta().total_seconds() if retry else None
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return errors.InvalidRequest(message, bad_pairs=_bad_pairs(details, first_index), **said)
    # A server that stops in the middle of a call ends it with CANCELLED. This client's own cancellations are
    # never seen here, so the server went away, and another replica may answer.
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return errors.Unavailable(message, retry_after_s=retry_after_s, **said)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if retry_after_s is not None:
            return errors.QuotaExceeded(message, retry_after_s=retry_after_s, **said)
        if message == _TOO_MANY_CALLS:
            return errors.Unavailable(message, **{**said, "reason": "TOO_MANY_CALLS"})
        return errors.MessageTooLarge(message, **said)
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        return _PRECONDITIONS.get(said["reason"], errors.PreconditionFailed)(message, **said)
    return _PLAIN.get(code, errors.ServerFault)(message, **said)


def _details(rpc_error: Any) -> dict[str, Any]:
    """The error's details by message name; {} when there are none or they cannot be read."""
    try:
        status = rpc_status.from_call(rpc_error)
    except (ValueError, DecodeError):  # a proxy changed the message, or wrote a trailer of its own
        return {}
    found = {}
    for packed in status.details if status else ():
        name = packed.TypeName().removeprefix("google.rpc.")
        if name in ("ErrorInfo", "RetryInfo", "BadRequest"):
            found[name] = getattr(error_details_pb2, name)()
            packed.Unpack(found[name])
    return found


def _bad_pairs(details: dict[str, Any], first_index: int) -> tuple[tuple[int, str], ...]:
    violations = details["BadRequest"].field_violations if "BadRequest" in details else ()
    named = ((_INDEX.match(v.field), v.description) for v in violations)
    return tuple((int(match[2]) + first_index, description) for match, description in named if match)


def _renumbered(message: str, first_index: int) -> str:
    return _INDEX.sub(lambda m: f"{m[1]}[{int(m[2]) + first_index}]", message)
