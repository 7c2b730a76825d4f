"""`rewardplane serve ROLE`: serves one model until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from rewardplane.logs import configure_logs
from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.process import importing, keep_objects
from rewardplane.span_export import export_spans

from .common.config import ServerConfig, WrongSetting

if TYPE_CHECKING:
    from .common.team_model import Leader

log = logging.getLogger(__name__)
app = typer.Typer(add_completion=False)

CANNOT_SERVE = 1
WRONG_FLAGS = 2


class RoleName(StrEnum):
    """What may be served."""

    reward = "reward"
    reference = "reference"
    policy = "policy"


class LogLevel(StrEnum):
    """How much is logged."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(StrEnum):
    """How it is logged."""

    text = "text"
    json = "json"


def serve(argv: list[str]) -> int:
    """Gives the exit status: 0 after a drain, 1 when the server cannot start, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane serve")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def flag(text: str) -> Any:
    return typer.Option(help=text, show_default=True)


@app.command()
def command(
    role: Annotated[RoleName, typer.Argument(help="reward: scores. reference: log-probs. policy: both, and answers.")],
    model: Annotated[Path, flag("Checkpoint (a Hugging Face directory), or a directory of them.")],
    host: Annotated[str, flag("Address to listen on; 0.0.0.0 for every interface.")] = "127.0.0.1",
    port: Annotated[int, flag("Port of gRPC; 0 is any free one.")] = 50051,
    metrics_port: Annotated[int, flag("Port of Prometheus /metrics; 0 is any free one.")] = 9090,
    health_port: Annotated[
        int | None, flag("Port of health checks alone, in plain text; default: only on the gRPC port.")
    ] = None,
    port_file: Annotated[Path | None, flag("Gets the bound ports as JSON, once serving.")] = None,
    tls_cert: Annotated[Path | None, flag("PEM certificate of the server; default: plain text.")] = None,
    tls_key: Annotated[Path | None, flag("PEM private key of that certificate.")] = None,
    tls_client_ca: Annotated[
        Path | None, flag("PEM authorities of callers' certificates, which callers then need.")
    ] = None,
    trusted_keys: Annotated[
        Path | None, flag("PEM public keys; only checkpoints that one of them has signed are served.")
    ] = None,
    access: Annotated[Path | None, flag("TOML: who may ask for what; default: everybody for everything.")] = None,
    dtype: Annotated[str, flag("float32 or bfloat16.")] = "float32",
    device: Annotated[str, flag("cpu or cuda.")] = "cpu",
    threads: Annotated[int | None, flag("CPU threads that compute; default: every core.")] = None,
    parallel_batches: Annotated[
        int | None, flag("Forward passes at a time, which share the threads; default: 2.")
    ] = None,
    max_pair_tokens: Annotated[int | None, flag("Longest pair; default: what the model allows.")] = None,
    max_request_pairs: Annotated[int, flag("Most pairs in one request.")] = 256,
    max_request_bytes: Annotated[int, flag("Most bytes in one request.")] = 64 << 20,
    max_metadata_bytes: Annotated[int, flag("Most bytes of a call's metadata.")] = 16 << 10,
    max_connections: Annotated[int, flag("Most connections; beyond, they are closed at once.")] = 1000,
    max_streams: Annotated[int, flag("Most calls at once on one connection.")] = 256,
    max_calls: Annotated[int, flag("Most calls at once.")] = 1000,
    handshake_seconds: Annotated[float, flag("How long a new connection may take to speak HTTP/2.")] = 20.0,
    receive_seconds: Annotated[float, flag("How long the request of a call may take to arrive.")] = 30.0,
    max_deadline_seconds: Annotated[float, flag("The longest deadline of a call, and that of calls without.")] = 600.0,
    max_batch_tokens: Annotated[
        int | None, flag("Most tokens in one forward pass; default: 1024 on cpu, 32768 on cuda.")
    ] = None,
    max_queue_tokens: Annotated[int | None, flag("Most tokens that wait; default: 128 batches.")] = None,
    share: Annotated[str, flag("What a batch computes once: question, or prefix (system prompts too).")] = "question",
    max_generation_rows: Annotated[int, flag("Most answers sampled side by side.")] = 64,
    follow_seconds: Annotated[
        float | None, flag("How often to look for a newer checkpoint, and swap to it; default: never.")
    ] = None,
    model_control_mode: Annotated[
        str, flag("explicit: callers may load and unload the model through KServe v2, as with a Triton. none: not.")
    ] = "none",
    reference: Annotated[
        str | None, flag("HOST:PORT of the reference; a policy then scores kl_coef * (log pi - log pi_SFT).")
    ] = None,
    reference_tls_ca: Annotated[Path | None, flag("PEM authorities of the reference.")] = None,
    reference_tls_cert: Annotated[Path | None, flag("PEM certificate to show the reference.")] = None,
    reference_tls_key: Annotated[Path | None, flag("PEM private key of that certificate.")] = None,
    reference_token_file: Annotated[Path | None, flag("Holds the bearer token for the reference.")] = None,
    kl_coef: Annotated[float, flag("beta of that implicit reward.")] = 1.0,
    max_connection_age_seconds: Annotated[
        float, flag("Connections are told to reconnect after this, so that clients find new replicas.")
    ] = 60.0,
    drain_seconds: Annotated[float, flag("How long calls in flight may take after SIGTERM.")] = 30.0,
    log_level: Annotated[LogLevel, flag("How much is logged, on stderr.")] = LogLevel.info,
    log_format: Annotated[
        LogFormat, flag("text for people; json is an object a line, with the ids of the request.")
    ] = LogFormat.text,
) -> None:
    """Serves a model over gRPC: rewardplane.v1, KServe v2, health and reflection on one port.

    SIGTERM or Ctrl-C lets the calls in flight finish; a second one ends at once.
    """
    if reference and role is not RoleName.policy:
        raise typer.BadParameter(f"--reference is of use to a policy, not to a {role} server")
    if follow_seconds and model_control_mode == "explicit":
        raise typer.BadParameter("--model-control-mode explicit and --follow-seconds exclude each other")
    given = dict(locals())
    settings = {name: given[name] for name in ServerConfig.model_fields}
    processes = _processes(os.environ)
    if processes > 1:  # they make one call at a time
        settings["parallel_batches"] = parallel_batches or 1
    configure_logs(log_level.value, log_format.value)
    export_spans("rewardplane", os.environ)
    try:
        config = ServerConfig(**settings)
    except ValidationError as error:
        for wrong in error.errors():
            typer.echo(f"--{'-'.join(map(str, wrong['loc'])).replace('_', '-')}: {wrong['msg']}", err=True)
        raise typer.Exit(WRONG_FLAGS) from error
    try:
        if processes > 1:
            from .together import serve_together

            serve_together(role.value, config, lambda leader: _run(role.value, model, config, leader))
        else:
            asyncio.run(_run(role.value, model, config))
    except WrongSetting as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_FLAGS) from error
    except (BadCheckpoint, OSError) as error:
        typer.echo(f"cannot serve {model} as {role.value}: {error}", err=True)
        raise typer.Exit(CANNOT_SERVE) from error


def _processes(environment: Mapping[str, str]) -> int:
    """How many torchrun started."""
    return int(environment["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in environment else 1


async def _run(role: str, model: Path, config: ServerConfig, leader: Leader | None = None) -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # texts come one by one: other threads are a detour
    with importing():  # here and not above: it takes seconds, and --help and wrong flags need none of it
        from transformers.utils.logging import disable_progress_bar

        from .common.server import Server

    disable_progress_bar()  # type: ignore[no-untyped-call]
    server = Server(role, model, config, leader)
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _tell, told_to_stop)
    await server.open()
    stopping = asyncio.create_task(told_to_stop.wait())
    loading = asyncio.create_task(server.load())
    try:
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            await loading
            keep_objects()
            typer.echo(server.describe())
            await stopping
    finally:
        loading.cancel()
        await server.stop()
        log.info("stopped")


def _tell(told_to_stop: asyncio.Event) -> None:
    if told_to_stop.is_set():
        log.error("told to stop twice: calls in flight are cut off")
        os._exit(CANNOT_SERVE)
    log.info("told to stop: calls in flight may finish")
    told_to_stop.set()
