"""Bearer tokens that an identity provider has signed (JWT, RFC 7519), checked against its public keys."""

from __future__ import annotations

import json
from pathlib import Path

import jwt

from .rules import BadAccessFile, JwtRules


class JwtVerifier:
    """Holds the keys of a JWKS file, and what their tokens must say."""

    def __init__(self, rules: JwtRules, jwks: Path) -> None:
        """Raises BadAccessFile for a file without a usable public key."""
        self._rules = rules
        try:
            keys = jwt.PyJWKSet.from_dict(json.loads(jwks.read_bytes())).keys
        except (OSError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as error:
            raise BadAccessFile(f"jwt.jwks: {jwks} is no JSON Web Key Set: {error}") from error
        if any(key.key_type == "oct" for key in keys):
            raise BadAccessFile(f"jwt.jwks: {jwks} has a shared secret (kty oct); public keys are wanted")
        self._keys = {key.key_id: key for key in keys}

    def subject(self, token: str) -> str | None:
        """The claim that names the caller; None for a token that is not valid now."""
        rules = self._rules
        try:
            key = self._keys.get(jwt.get_unverified_header(token).get("kid"))
            if key is None and len(self._keys) == 1:
                key = next(iter(self._keys.values()))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=list(rules.algorithms),
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.leeway_seconds,
                options={"require": ["exp", "iss", "aud", rules.claim]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        subject = claims[rules.claim]
        return subject if isinstance(subject, str) else None


def looks_like_jwt(token: str) -> bool:
    return token.count(".") == 2
