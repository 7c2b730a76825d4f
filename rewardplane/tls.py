"""Files that prove who a client is, and whom it trusts; read again when they change, so that they can be rotated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

FileState = tuple[int, int, int]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files for a client's connections."""

    ca: Path | str | None = None
    """Certificates of the authorities whose servers are trusted; None trusts those that gRPC comes with."""
    cert: Path | str | None = None
    """The client's own certificate, with what leads to its authority; None shows none."""
    key: Path | str | None = None
    """The private key of `cert`."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one in the address (a pod's address has none)."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError(f"tls.cert is {self.cert} and tls.key {self.key}: give both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """What the files hold now. Raises OSError."""
        ca, key, cert = (Path(path).read_bytes() if path else None for path in (self.ca, self.key, self.cert))
        return grpc.ssl_channel_credentials(ca, key, cert)

    def options(self) -> dict[str, str]:
        """Channel options."""
        return {"grpc.ssl_target_name_override": self.server_name} if self.server_name else {}

    def state(self) -> tuple[FileState, ...]:
        """Differs when a file was replaced. Raises OSError."""
        return tuple(file_state(path) for path in (self.ca, self.cert, self.key) if path)


class TokenFile:
    """A file with one bearer token. It may be replaced at any time; the next request sends the new one."""

    def __init__(self, path: Path | str) -> None:
        """Raises OSError and ValueError when the file cannot be used."""
        self._path = Path(path)
        self._state: FileState | None = None
        self._token = ""
        self.entry()

    def entry(self) -> tuple[str, str]:
        """The metadata that a request is sent with. Raises OSError and ValueError."""
        state = file_state(self._path)
        if state != self._state:
            token = self._path.read_text(encoding="ascii").strip()
            if not token or not token.isprintable() or " " in token:
                raise ValueError(f"{self._path} does not hold one token: wanted is one line without spaces")
            self._token, self._state = token, state
        return "authorization", f"Bearer {self._token}"


def file_state(path: Path | str) -> FileState:
    """Differs when the file was replaced or written. Raises OSError."""
    stat = Path(path).stat()
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
