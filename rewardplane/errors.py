"""Everything that can go wrong between a client and a server, one class for each thing a caller can do.

Servers raise these and send them as `google.rpc.Status`; clients read them back (rewardplane/status.py).
The table of codes and reasons is in docs/client.md.
"""

from __future__ import annotations

from typing import ClassVar

import grpc

ERROR_DOMAIN = "rewardplane.dev"
"""`ErrorInfo.domain` of every reason below."""


class RewardplaneError(Exception):
    """A call that failed.

    message: what was wrong, what is allowed, what to do
    reason:  `ErrorInfo.reason`, "" when none was given
    target:  address of the server, "" when none was asked
    code:    gRPC status code
    """

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    default_reason: ClassVar[str] = ""

    def __init__(
        self, message: str = "", *, reason: str = "", target: str = "", code: grpc.StatusCode | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.target = target
        self.code = code or self.default_code

    def __str__(self) -> str:
        if not self.target:
            return self.message
        reason = f" {self.reason}" if self.reason else ""
        return f"{self.target}: {self.code.name}{reason}: {self.message}"


class InvalidRequest(RewardplaneError):
    """The request is wrong and will stay wrong: change it. `bad_pairs` names each bad pair or question."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(
        self,
        message: str = "",
        *,
        bad_pairs: tuple[tuple[int, str], ...] = (),  # (index in the caller's batch, what is wrong with it)
        reason: str = "",
        target: str = "",
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, reason=reason, target=target, code=code)
        self.bad_pairs = bad_pairs


class PreconditionFailed(RewardplaneError):
    """The server is in another state than the caller insists on."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class DigestMismatch(PreconditionFailed):
    """The server runs other weights than expected, or one batch was answered by two sets of weights."""

    default_reason = "CHECKPOINT_DIGEST_MISMATCH"


class TokenizerMismatch(PreconditionFailed):
    """The token ids belong to another tokenizer than the server's."""

    default_reason = "TOKENIZER_MISMATCH"


class _MaybeLater(RewardplaneError):
    """`retry_after_s`: `RetryInfo.retry_delay`, None when the server sent none."""

    def __init__(
        self,
        message: str = "",
        *,
        retry_after_s: float | None = None,
        reason: str = "",
        target: str = "",
        code: grpc.StatusCode | None = None,
    ) -> None:
        super().__init__(message, reason=reason, target=target, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(_MaybeLater):
    """No server answered, or it is loading, draining or full; the client has retried until its deadline."""

    default_code = grpc.StatusCode.UNAVAILABLE


class QuotaExceeded(_MaybeLater):
    """The caller has used up its own share; the client has waited as told, until its deadline."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class MessageTooLarge(RewardplaneError):
    """A request or reply is larger than the other side accepts: send less at once."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = "MESSAGE_TOO_LARGE"


class DeadlineExceeded(RewardplaneError):
    """No answer within `timeout_s`."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unauthenticated(RewardplaneError):
    """The server does not know who is calling."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(RewardplaneError):
    """The server knows who is calling, and refuses."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class Unimplemented(RewardplaneError):
    """The server does not serve this capability: a reward model has no log-probs, for one."""

    default_code = grpc.StatusCode.UNIMPLEMENTED


class ServerFault(RewardplaneError):
    """The server failed, or its reply breaks the contract: tell the people who run it."""

    default_code = grpc.StatusCode.INTERNAL
