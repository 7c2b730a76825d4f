"""Where a judge is, and how long the run waits for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, Self

from pydantic import NonNegativeFloat, PositiveFloat, field_validator, model_validator

from rewardplane.tls import TlsFiles

from ..config import Section

KSERVE = "kserve://"
_KSERVE_TARGET = re.compile(rf"{KSERVE}(?P<address>[^/\s]+:\d+)/(?P<model>[^/\s]+)")


class KServeTarget(NamedTuple):
    """A model on a server of the Open Inference Protocol."""

    address: str
    model: str


class TlsConfig(Section):
    """PEM files; they may be replaced while the run goes on. `[reward.tls]` alone, empty, trusts public authorities."""

    ca: Path | None = None
    """The authorities whose servers are trusted; unset are those that gRPC comes with."""
    cert: Path | None = None
    """The trainer's own certificate."""
    key: Path | None = None
    """Its private key."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the one in `target`."""

    def files(self) -> TlsFiles:
        return TlsFiles(self.ca, self.cert, self.key, self.server_name)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.files()
        return self


class JudgeConfig(Section):
    """One judge."""

    target: str
    """Address: "host:port", or a DNS name of several replicas, "dns:///reward.rlhf:8500". The reward model may also
    be on any server of KServe v2 (Triton, KServe, PyTriton): "kserve://host:port/model"."""
    timeout_s: PositiveFloat = 60.0
    """Deadline of one call, retries within it included."""
    outage_limit_s: NonNegativeFloat = 1800.0
    """How long the run waits for a judge that does not answer before it gives up."""
    tls: TlsConfig | None = None
    """Unset is plain text."""
    token_file: Path | None = None
    """Holds the bearer token that is sent with each request; may be replaced while the run goes on."""

    @property
    def kserve(self) -> KServeTarget | None:
        """None where the target is a rewardplane server."""
        match = _KSERVE_TARGET.fullmatch(self.target)
        return KServeTarget(match["address"], match["model"]) if match else None

    @field_validator("target")
    @classmethod
    def _readable(cls, target: str) -> str:
        if target.startswith(KSERVE) and not _KSERVE_TARGET.fullmatch(target):
            raise ValueError(f'"{target}" is not of the form "{KSERVE}host:port/model"')
        return target
