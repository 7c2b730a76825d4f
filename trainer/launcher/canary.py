"""A few pairs that a new replica must score before it may replace the old ones."""

from __future__ import annotations

import math
import socket
from pathlib import Path

from rewardplane import Client, TlsFiles
from rewardplane.errors import RewardplaneError

PAIRS = (
    ("How was the film?", "It was long, and I would see it again."),
    ("How was the film?", "."),
    ("Name three colours.", "Red, green and blue."),
    ("Was ist ein Apfel?", "Eine Frucht: süß, rund, saftig."),
    ("2 + 2 =", "4"),
)
TIMEOUT_S = 60.0
CONNECT_S = 3.0


class CanaryDied(Exception):
    """A replica that must not go on serving; the message says why."""


def check(address: str, digest: str, tls: TlsFiles | None = None, token_file: Path | None = None) -> None:
    """Raises CanaryDied when the server at `address` has other weights, no answer, or scores that are not finite."""
    try:
        with Client(address, timeout_s=TIMEOUT_S, tls=tls, token_file=token_file) as client:
            scores = client.score(PAIRS)
    except (RewardplaneError, ValueError) as error:  # ValueError: files that cannot be read
        raise CanaryDied(f"the new replica at {address} does not score: {error}") from error
    found = scores.model_version.checkpoint_digest
    if found != digest:
        raise CanaryDied(f"the new replica at {address} serves {found}, and {digest} was promoted")
    if wrong := [pair for pair, score in zip(PAIRS, scores, strict=True) if not math.isfinite(score)]:
        raise CanaryDied(f"the new replica at {address} has no finite score for {wrong}")


def reachable(address: str) -> bool:
    """Whether a connection to HOST:PORT can be made from here."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True
