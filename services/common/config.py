"""The settings of a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt


class WrongSetting(ValueError):
    """A setting that cannot be used. Its message begins with the setting's name, as a flag."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"--{name.replace('_', '-')}: {message}")


class ServerConfig(BaseModel):
    """Where a server listens, how it computes, and how much it accepts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and for metrics; 0.0.0.0 or [::] for every interface."""
    port: NonNegativeInt = 0
    """Port of gRPC; 0 is any free one."""
    metrics_port: NonNegativeInt = 0
    """Port of Prometheus metrics over HTTP (/metrics); 0 is any free one."""
    health_port: NonNegativeInt | None = None
    """Port of health checks alone, always in plain text; 0 is any free one, None leaves them on `port` only."""
    port_file: Path | None = None
    """Gets the bound ports as JSON, {"port": ..., "metrics_port": ..., "health_port": ...}, once the model serves."""

    tls_cert: Path | None = None
    """PEM: the server's certificate, with what leads to its authority. gRPC then speaks TLS; replaced files are used
    from the next connection on."""
    tls_key: Path | None = None
    """PEM: its private key."""
    tls_client_ca: Path | None = None
    """PEM: authorities of callers' certificates; a caller without one is then turned away."""

    trusted_keys: Path | None = None
    """PEM: Ed25519 public keys, one of which must have signed a checkpoint; None loads unsigned ones too."""
    access: Path | None = None
    """TOML: who may ask for what, and how much of it. None lets everybody do everything; with it, nobody may who is
    not in it."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute type. bfloat16 is up to twice as fast; where its products are torch's, scores move by 2e-3 to 7e-3 with
    the batch."""
    device: Literal["cpu", "cuda"] = "cpu"
    threads: PositiveInt | None = None
    """CPU threads that compute; None is every core that the process may use."""
    parallel_batches: PositiveInt | None = None
    """Forward passes at a time, which share the threads; None is 2. Small operations gain little
    from a second thread, and two batches do; but where other programs take the cores, they wait for each other (for
    Python's lock)."""

    max_pair_tokens: PositiveInt | None = None
    """The most tokens of question plus answer; never more than the model's positions allow, which None is."""
    max_request_pairs: PositiveInt = 256
    max_request_bytes: PositiveInt = 64 << 20
    max_metadata_bytes: Annotated[int, Field(ge=1024, le=1 << 20)] = 16 << 10
    """The most metadata (headers) of a call."""
    max_connections: PositiveInt = 1000
    """Connections beyond are closed at once."""
    max_streams: PositiveInt = 256
    """Calls at once on one connection; clients keep further ones back."""
    max_calls: PositiveInt = 1000
    """Calls at once on the whole server; `max_calls` times `max_request_bytes` bounds what requests may take."""
    handshake_seconds: PositiveFloat = 20.0
    """How long a connection may take until it speaks HTTP/2 (with TLS: until it is secured, too)."""
    receive_seconds: PositiveFloat = 30.0
    """How long the request of a call may take to arrive. Messages of a stream come when they like."""
    max_deadline_seconds: PositiveFloat = 600.0
    """The longest a call may wait and compute; one that asks for longer, or sets no deadline, gets this one."""
    max_batch_tokens: PositiveInt | None = None
    """Tokens in one forward pass; None is 1024 on CPU (more leaves its caches) and 32768 on CUDA."""
    max_queue_tokens: PositiveInt | None = None
    """Tokens that may wait; beyond, callers are told to come again. None is 128 batches."""
    share: Literal["question", "prefix"] = "question"
    """What a batch computes once: equal questions, or every common prefix (a system prompt, too). With "question" a
    score has the same bits in every batch, on CPU in float32; with "prefix" its last bits follow the batch."""
    max_generation_rows: PositiveInt = 64
    """Answers sampled side by side; scoring waits for at most one such block."""

    max_connection_age_seconds: PositiveFloat = 60.0
    """Connections are told to reconnect after this (give or take a tenth), so that clients find new replicas; calls
    on them finish."""
    drain_seconds: NonNegativeFloat = 30.0
    """How long calls in flight may take to finish after SIGTERM."""
    follow_seconds: PositiveFloat | None = None
    """How often to look for a newer checkpoint in the model directory; None never looks."""
    model_control_mode: Literal["none", "explicit"] = "none"
    """Who says which checkpoint is loaded: this server alone, or callers (KServe v2's load and unload), too."""
    reference: str | None = None
    """HOST:PORT of the reference server; a policy's score is then kl_coef * (log pi - log pi_SFT)."""
    reference_tls_ca: Path | None = None
    """PEM: authorities that vouch for the reference. TLS is spoken when this or `reference_tls_cert` is given."""
    reference_tls_cert: Path | None = None
    reference_tls_key: Path | None = None
    reference_token_file: Path | None = None
    """Holds the bearer token for the reference."""
    kl_coef: PositiveFloat = 1.0
    """beta of the implicit reward."""

    def compute_threads(self, cores: int) -> tuple[int, int]:
        """(batches side by side, CPU threads of each), on a machine of so many cores."""
        threads = self.threads or cores
        parallel = self.parallel_batches or min(2, threads)
        return parallel, max(1, threads // parallel)

    @property
    def batch_tokens(self) -> int:
        return self.max_batch_tokens or (1024 if self.device == "cpu" else 32768)

    @property
    def queue_tokens(self) -> int:
        return self.max_queue_tokens or 128 * self.batch_tokens
