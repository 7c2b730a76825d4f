"""Bearer tokens of a server: a file that names an identity and the SHA-256 of its token on each line.

The tokens are 256 random bits, so that a hash without salt gives nothing away and none can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .rules import BadAccessFile

PREFIX = "rwp_"
"""Of the tokens made here, so that scanners for leaked secrets know them."""


@dataclass(frozen=True)
class TokenLine:
    """A line: `IDENTITY SHA256 [EXPIRES]`."""

    identity: str
    digest: bytes
    expires: datetime | None

    def __str__(self) -> str:
        expires = f" {self.expires.isoformat(timespec='seconds')}" if self.expires else ""
        return f"{self.identity} {self.digest.hex()}{expires}"


def new_token(identity: str, expires: datetime | None) -> tuple[str, TokenLine]:
    """A token, and the line that lets it in."""
    token = PREFIX + secrets.token_urlsafe(32)
    return token, TokenLine(identity, digest_of(token), expires)


def digest_of(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def read_tokens(path: Path, identities: Collection[str]) -> list[TokenLine]:
    """Raises BadAccessFile for lines that cannot be read, and for identities that the access file does not have."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadAccessFile(f"tokens: {path} cannot be read: {error}") from error
    lines = []
    for number, content in enumerate(text.splitlines(), 1):
        if content.strip() and not content.startswith("#"):
            try:
                lines.append(_parse(content))
            except ValueError as error:
                raise BadAccessFile(f"tokens: {path}, line {number}: {error}") from error
            if lines[-1].identity not in identities:
                raise BadAccessFile(f"tokens: {path}, line {number}: identities has no {lines[-1].identity}")
    return lines


def match(lines: list[TokenLine], token: str) -> TokenLine | None:
    """The line of a token. Takes as long for every token: all lines are compared, each in constant time."""
    digest = digest_of(token)
    found: TokenLine | None = None
    for line in lines:
        if hmac.compare_digest(line.digest, digest):
            found = line
    return found


def _parse(content: str) -> TokenLine:
    words = content.split()
    if len(words) not in (2, 3) or len(words[1]) != 2 * hashlib.sha256().digest_size:
        raise ValueError("wanted is IDENTITY SHA256 [EXPIRES]")
    expires = datetime.fromisoformat(words[2]) if len(words) == 3 else None
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    return TokenLine(words[0], bytes.fromhex(words[1]), expires)
