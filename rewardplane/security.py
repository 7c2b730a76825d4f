"""What a client's channels are secured with: credentials, or files that are read again when they change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc

from rewardplane.errors import Unauthenticated, Unavailable
from rewardplane.tls import FileState, TlsFiles, TokenFile

LOOK_S = 1.0
"""How often the files of `tls` are looked at."""

T = TypeVar("T")
Metadata = tuple[tuple[str, str | bytes], ...]


class ChannelSecurity:
    """Credentials for channels, and what is sent with each request. Threads share it under their own lock."""

    def __init__(
        self,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        tls: TlsFiles | None = None,
        token_file: Path | str | None = None,
    ) -> None:
        """As the arguments of Session. Raises ValueError for what can never work, unreadable files too."""
        if credentials is not None and tls is not None:
            raise ValueError("credentials and tls are two ways to say the same: give one of them")
        self._credentials = credentials
        self._tls = tls
        self._state: tuple[FileState, ...] = ()
        self._looked_at_s = time.monotonic()
        self._own_metadata: Metadata = tuple(metadata)
        self._token: TokenFile | None = None
        if tls is not None:
            self._state = _readable("tls", tls, tls.state)
        if token_file is not None:
            self._token = _readable("token_file", token_file, lambda: TokenFile(token_file))

    @property
    def options(self) -> dict[str, str]:
        """Channel options."""
        return self._tls.options() if self._tls else {}

    def changed(self) -> bool:
        """Whether channels should be opened anew, since files of `tls` were replaced."""
        if self._tls is None or (now_s := time.monotonic()) < self._looked_at_s + LOOK_S:
            return False
        self._looked_at_s = now_s
        try:
            state = self._tls.state()
        except OSError:  # in the middle of being replaced
            return False
        changed, self._state = state != self._state, state
        return changed

    def credentials(self) -> grpc.ChannelCredentials | None:
        """For a channel that is opened now; None for plain text. Raises Unavailable when files cannot be read."""
        if self._tls is None:
            return self._credentials
        try:
            return self._tls.credentials()
        except OSError as error:
            raise Unavailable(f"tls: {error}") from error

    def metadata(self) -> Metadata:
        """For a request that is sent now. Raises Unauthenticated when the token cannot be read."""
        if self._token is None:
            return self._own_metadata
        try:
            return (*self._own_metadata, self._token.entry())
        except (OSError, ValueError) as error:
            raise Unauthenticated(f"token_file: {error}") from error


def _readable(name: str, value: object, read: Callable[[], T]) -> T:
    try:
        return read()
    except (OSError, ValueError) as error:
        raise ValueError(f"{name} is {value}: {error}") from error
