"""The access file with the files that it names, as read at one moment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from .caller import Caller
from .jwt_tokens import JwtVerifier, looks_like_jwt
from .quota import TokenBucket
from .rules import AccessRules, IdentityRules, read_rules
from .token_file import match, read_tokens

BURST_S = 10.0
"""Seconds' worth of tokens that a quota saves up where the file does not say."""


class AccessBook:
    """Knows callers by what they show."""

    def __init__(self, path: Path, before: AccessBook | None = None) -> None:
        """Quotas that are as `before` go on where they were. Raises BadAccessFile."""
        rules = read_rules(path)
        self.files = [path]
        known: dict[str, Caller] = before._callers if before else {}
        self._callers: dict[str, Caller] = {
            name: _caller(name, identity, known.get(name)) for name, identity in rules.identities.items()
        }
        self._by_subject = _index((name, identity.jwt_subjects) for name, identity in rules.identities.items())
        self._by_certificate = _index((name, identity.certificate_names) for name, identity in rules.identities.items())
        self._lines = read_tokens(self._beside(path, rules.tokens), rules.identities) if rules.tokens else []
        self._jwt = self._verifier(path, rules)

    @property
    def knows_certificates(self) -> bool:
        return bool(self._by_certificate)

    def by_token(self, token: str) -> Caller | None:
        """None for a token that is wrong, expired or revoked."""
        line = match(self._lines, token)
        if line is not None:
            current = line.expires is None or datetime.now(UTC) < line.expires
            return self._callers[line.identity] if current else None
        if self._jwt is not None and looks_like_jwt(token) and (subject := self._jwt.subject(token)) is not None:
            return self._callers.get(self._by_subject.get(subject, ""))
        return None

    def by_certificate(self, names: Iterable[str]) -> Caller | None:
        """By the subject alternative names of a certificate that TLS has checked."""
        found = (self._by_certificate.get(name) for name in names)
        return next((self._callers[name] for name in found if name), None)

    def _beside(self, path: Path, other: Path) -> Path:
        self.files.append(path.parent / other)
        return self.files[-1]

    def _verifier(self, path: Path, rules: AccessRules) -> JwtVerifier | None:
        return JwtVerifier(rules.jwt, self._beside(path, rules.jwt.jwks)) if rules.jwt else None


def _index(named: Iterable[tuple[str, Iterable[str]]]) -> dict[str, str]:
    return {value: name for name, values in named for value in values}


def _caller(name: str, rules: IdentityRules, before: Caller | None) -> Caller:
    quota = None
    if rules.tokens_per_second is not None:
        burst = rules.burst_tokens or BURST_S * rules.tokens_per_second
        quota = before.quota if before else None
        if quota is None or (quota.rate, quota.burst) != (rules.tokens_per_second, burst):
            quota = TokenBucket(rules.tokens_per_second, burst)
    return Caller(name, frozenset(rules.capabilities), rules.models, rules.weight, rules.priority == "first", quota)
