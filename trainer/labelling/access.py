"""Who may rank, and who may look on: one secret for each, in `access.json`, which only its owner can read."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..jsonl import BadData

ACCESS = "access.json"
TOKEN_BYTES = 24
LONGEST_NAME = 64


@dataclass(frozen=True)
class Access:
    """The secrets of one directory."""

    owner: str
    rankers: Mapping[str, str]
    """Name to token."""

    def ranker(self, token: str) -> str | None:
        """Whose token it is, found in a time that does not tell how much of it is right."""
        # No early end: every token is compared, whichever fits.
        fitting = [name for name, own in self.rankers.items() if _same(own, token)]
        return fitting[0] if fitting else None

    def is_owner(self, token: str) -> bool:
        return _same(self.owner, token)


def read_access(directory: Path) -> Access:
    """Raises BadData."""
    path = directory / ACCESS
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Access(str(kept["owner"]), {str(name): str(token) for name, token in kept["rankers"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(f'{path} cannot be read as {{"owner": token, "rankers": {{name: token}}}}: {error}') from error


def grant(directory: Path, names: Iterable[str] = (), revoked: Iterable[str] = ()) -> Access:
    """Gives each of `names` a token of its own, unless it has one, and takes away those of `revoked`.

    Raises BadData for a name that cannot be one, and for a revoked one that had no token.
    """
    kept = read_access(directory) if (directory / ACCESS).exists() else Access(_token(), {})
    rankers = dict(kept.rankers)
    for name in revoked:
        if rankers.pop(name, None) is None:
            raise BadData(f"{name} has no token here; {', '.join(rankers) or 'nobody'} has")
    for name in names:
        if not name.isprintable() or not 0 < len(name.strip()) <= LONGEST_NAME:
            raise BadData(f"{name!r} is no name: 1 to {LONGEST_NAME} printable characters are wanted")
        rankers.setdefault(name, _token())
    access = Access(kept.owner, rankers)
    if access != kept or not (directory / ACCESS).exists():
        _write(directory / ACCESS, access)
    return access


def links(access: Access, url: str) -> dict[str, str]:
    """The address for each ranker, and for the owner under "". Secrets stand behind #, which browsers do not send."""
    url = url.rstrip("/")
    return {"": f"{url}/owner#{access.owner}"} | {name: f"{url}/#{own}" for name, own in access.rankers.items()}


def _write(path: Path, access: Access) -> None:
    content = {"owner": access.owner, "rankers": dict(access.rankers)}
    staging = path.with_suffix(".tmp")
    staging.unlink(missing_ok=True)
    with open(os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
    staging.replace(path)


def _token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _same(own: str, given: str) -> bool:
    return hmac.compare_digest(own.encode(), given.encode())
