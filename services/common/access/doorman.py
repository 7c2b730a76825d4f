"""Finds out who calls: from a bearer token, else from the client's certificate."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter

from rewardplane.tls import file_state

from .. import faults
from ..config import WrongSetting
from .book import AccessBook
from .caller import Caller
from .rules import BadAccessFile

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the files are looked at, while calls come."""
REFUSALS = ("no_credentials", "bad_token", "unknown_certificate", "not_allowed")


class DoorMetrics:
    """Counts refusals; shown by every server, also where nobody is refused."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.refused = Counter(
            "rewardplane_access_refused_total", "Calls that were turned away at the door", ["cause"], registry=registry
        )
        for cause in REFUSALS:
            self.refused.labels(cause)
        self.reload_failures = Counter(
            "rewardplane_access_reload_failures_total", "Access files that could not replace the ones in use",
            registry=registry,
        )  # fmt: skip


class Doorman:
    """Knows the access file, and reads it again when it or a file that it names was replaced. On the event loop."""

    def __init__(self, path: Path, metrics: DoorMetrics) -> None:
        """Raises WrongSetting."""
        self._path = path
        self._metrics = metrics
        try:
            self._book = AccessBook(path)
        except BadAccessFile as error:
            raise WrongSetting("access", str(error)) from error
        self._states = self._look()
        self._looked_at_s = time.monotonic()

    def by_metadata(self, metadata: Iterable[tuple[str, str | bytes]]) -> Caller | None:
        """Who the bearer token names. Raises Unauthenticated for a token that is not valid.

        None when there is no token and a certificate may still say it.
        """
        self._renew()
        shown = [value for key, value in metadata if key == "authorization"]
        if not shown:
            if self._book.knows_certificates:
                return None
            raise self._refusal("no_credentials")
        scheme, _, token = (shown[0] if isinstance(shown[0], str) else "").partition(" ")
        caller = self._book.by_token(token.strip()) if len(shown) == 1 and scheme.lower() == "bearer" else None
        if caller is None:
            raise self._refusal("bad_token")
        return caller

    def by_certificate(self, auth_context: Mapping[str, Iterable[bytes]]) -> Caller:
        """Who the certificate of the connection names. Raises Unauthenticated."""
        names = [name.decode(errors="replace") for name in auth_context.get("x509_subject_alternative_name", ())]
        if not names:
            raise self._refusal("no_credentials")
        caller = self._book.by_certificate(names)
        if caller is None:
            raise self._refusal("unknown_certificate")
        return caller

    def count_not_allowed(self) -> None:
        self._metrics.refused.labels("not_allowed").inc()

    def _refusal(self, cause: str) -> faults.Fault:
        # Counted by its cause, and told without: what is wrong with a token is not for those who have none.
        self._metrics.refused.labels(cause).inc()
        return faults.unauthenticated()

    def _renew(self) -> None:
        if (now_s := time.monotonic()) < self._looked_at_s + LOOK_S:
            return
        self._looked_at_s = now_s
        states = self._look()
        if states == self._states:
            return
        try:
            self._book = AccessBook(self._path, self._book)
        except BadAccessFile as error:
            if states is not None:
                log.error("still using the access file from before: %s", error)
                self._metrics.reload_failures.inc()
        else:
            log.info("using what is now in %s", self._path)
        self._states = self._look()

    def _look(self) -> list[object] | None:
        try:
            return [file_state(path) for path in self._book.files]
        except OSError:
            return None
