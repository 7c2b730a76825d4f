"""Access files, tokens and JWT for tests."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ed25519
from rewardplane.services.common.access.token_file import new_token

ISSUER, AUDIENCE = "https://issuer.test", "rewardplane"


class AccessFiles:
    """An access file in a folder, with one token an identity."""

    def __init__(self, folder: Path, **identities: str) -> None:
        """`identities` are tables of TOML, without their header."""
        self.path = folder / "access.toml"
        self.tokens_path = folder / "tokens"
        self.tokens: dict[str, str] = {}
        lines = []
        for name in identities:
            self.tokens[name], line = new_token(name, None)
            lines.append(str(line))
        self.tokens_path.write_text("\n".join(lines) + "\n")
        self.write("", **identities)

    def write(self, more: str, **identities: str) -> None:
        tables = "".join(f"[identities.{name}]\n{rules}\n" for name, rules in identities.items())
        self.path.write_text(f'tokens = "tokens"\n{more}\n{tables}')

    def metadata(self, name: str) -> list[tuple[str, str]]:
        return bearer(self.tokens[name])


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


class Issuer:
    """An identity provider with one Ed25519 key; writes jwks.json."""

    table = (
        f'[jwt]\njwks = "jwks.json"\nissuer = "{ISSUER}"\naudience = "{AUDIENCE}"\nalgorithms = ["EdDSA"]\n'
        "leeway_seconds = 0"
    )

    def __init__(self, folder: Path, key_id: str = "one") -> None:
        self._key = ed25519.Ed25519PrivateKey.generate()
        self._key_id = key_id
        public = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key()))
        keys = {"keys": [{**public, "kid": key_id, "alg": "EdDSA", "use": "sig"}]}
        (folder / "jwks.json").write_text(json.dumps(keys))

    def token(self, subject: str, *, lasts_s: float = 60.0, **claims: object) -> str:
        given = {"sub": subject, "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + lasts_s, **claims}
        given = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(given, self._key, "EdDSA", headers={"kid": self._key_id})
