"""The access file: TOML that says who may do what on a server."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from .caller import Permission

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
"""Signatures only: a shared secret that a server can check is one that it can also sign with."""


class BadAccessFile(ValueError):
    """A file about access that cannot be used; the message names the file and the key."""


class Table(BaseModel):
    """A table of the access file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class JwtRules(Table):
    """How bearer tokens that are JWT are checked."""

    jwks: Path
    """JSON Web Key Set with the issuer's public keys; relative to the access file."""
    issuer: str
    """What `iss` must be."""
    audience: str
    """What `aud` must hold."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)]
    claim: str = "sub"
    """The claim that `jwt_subjects` are compared with."""
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30.0
    """How far the issuer's clock and this one may be apart."""


class IdentityRules(Table):
    """One identity: how it is recognised, and what it may do."""

    jwt_subjects: tuple[str, ...] = ()
    certificate_names: tuple[str, ...] = ()
    """Subject alternative names of client certificates: DNS names, or URIs such as "spiffe://..."."""
    capabilities: tuple[Permission, ...]
    models: tuple[str, ...] = ("*",)
    """Names of models, with * and ?."""
    tokens_per_second: PositiveFloat | None = None
    """Tokens of questions and answers, on each server; unset has no bound."""
    burst_tokens: PositiveFloat | None = None
    """The most that is saved up; unset is ten seconds' worth."""
    weight: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    priority: Literal["first", "normal"] = "normal"


class AccessRules(Table):
    """The whole file."""

    tokens: Path | None = None
    """File with the hashes of bearer tokens; relative to the access file."""
    jwt: JwtRules | None = None
    identities: dict[Name, IdentityRules]


def read_rules(path: Path) -> AccessRules:
    """Raises BadAccessFile."""
    try:
        rules = AccessRules.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise BadAccessFile(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadAccessFile(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        raise BadAccessFile(f"{path}: {'; '.join(_explained(error))}") from error
    for kind in ("jwt_subjects", "certificate_names"):
        seen: dict[str, str] = {}
        for name, identity in rules.identities.items():
            for value in getattr(identity, kind):
                if (other := seen.setdefault(value, name)) != name:
                    raise BadAccessFile(f"{path}: identities.{name}.{kind}: {value} is also identities.{other}'s")
    for name, identity in rules.identities.items():
        if identity.jwt_subjects and rules.jwt is None:
            raise BadAccessFile(f"{path}: identities.{name}.jwt_subjects: there is no [jwt] to check tokens with")
    return rules


def _explained(error: ValidationError) -> Iterator[str]:
    for wrong in error.errors():
        yield f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
