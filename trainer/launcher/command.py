"""`rewardplane job` and `rewardplane promote`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rewardplane import TlsFiles
from rewardplane.modeling.checkpoint import BadCheckpoint, read_manifest
from rewardplane.modeling.signing import BadKey, TrustedKeys

from . import jobs, live, promotion
from .canary import check, reachable
from .cluster import ApiError, Cluster, Unreachable
from .job_state import State, state_of
from .logs import log_lines

FAILED = 1

job_app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Training jobs in a cluster that deploy/ was applied to."
)
promote_app = typer.Typer(add_completion=False)

Name = Annotated[str, typer.Argument(help="The job's name; its run is /runs/NAME.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Where deploy/ was applied.")]
Kubeconfig = Annotated[str | None, typer.Option(help="File that leads to the cluster; default: as kubectl has it.")]
Context = Annotated[str | None, typer.Option(help="Of that file; default: the current one.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Stay until the job has ended.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Sets one key of ppo.toml.")]


def job(argv: list[str]) -> int:
    """Gives the exit status: 0 when done, 1 when the job or the request failed, 2 for wrong flags."""
    return _run(job_app, argv, "rewardplane job")


def promote(argv: list[str]) -> int:
    """Gives the exit status: 0 when the checkpoint serves, 1 when it does not, 2 for wrong flags."""
    return _run(promote_app, argv, "rewardplane promote")


def _run(app: typer.Typer, argv: list[str], name: str) -> int:
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    try:
        app(args=argv, prog_name=name)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (ApiError, Unreachable, jobs.CannotDo, promotion.PromotionFailed) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error


@job_app.callback()
def where(
    of: typer.Context, namespace: Namespace = "rlhf", kubeconfig: Kubeconfig = None, context: Context = None
) -> None:
    of.obj = partial(Cluster, namespace, kubeconfig=kubeconfig, context=context)


@job_app.command()
def submit(of: typer.Context, name: Name, overrides: Overrides = None, follow: Follow = False) -> None:
    """Starts a job from the template in the cluster. A run of this name goes on from its newest state."""
    with _explained():
        cluster: Cluster = of.obj()
        made, warnings = jobs.submit(cluster, name, overrides or ())
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"job {name} is {state_of(made).word}")
        if follow:
            _end(live.follow(cluster, name, Console()))


@job_app.command(name="list")
def list_jobs(of: typer.Context) -> None:
    """Shows all training jobs, newest first."""
    with _explained():
        table = Table("job", "state", "why", "made", box=None)
        for found in jobs.all_jobs(of.obj()):
            state = state_of(found)
            table.add_row(found["metadata"]["name"], state.word, state.why, found["metadata"]["creationTimestamp"])
        Console().print(table)


@job_app.command()
def status(of: typer.Context, name: Name, follow: Follow = False) -> None:
    """Shows a job: its state, its pods, and how far its training is."""
    with _explained():
        cluster: Cluster = of.obj()
        if follow:
            _end(live.follow(cluster, name, Console()))
        Console().print(live.render(live.look(cluster, name)))


@job_app.command()
def logs(of: typer.Context, name: Name, follow: Follow = False) -> None:
    """Writes the log of the job's newest pod; with --follow also of those that replace it."""
    with _explained():
        for line in log_lines(of.obj(), name, follow=follow):
            typer.echo(line)


@job_app.command()
def cancel(
    of: typer.Context,
    name: Name,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the job, not only its pods.")] = False,
) -> None:
    """Ends a job's pods. What the run has saved stays, and `resume` goes on from it."""
    with _explained():
        if delete:
            jobs.delete(of.obj(), name)
            typer.echo(f"job {name} is deleted; `rewardplane job submit {name}` goes on with its run")
        else:
            jobs.suspend(of.obj(), name)
            typer.echo(f"job {name} is suspended; `rewardplane job resume {name}` goes on with it")


@job_app.command()
def resume(of: typer.Context, name: Name, follow: Follow = False) -> None:
    """Goes on with a job that was cancelled or that failed, from the newest saved state."""
    with _explained():
        cluster: Cluster = of.obj()
        typer.echo(f"job {name} is {state_of(jobs.resume(cluster, name)).word}")
        if follow:
            _end(live.follow(cluster, name, Console()))


@promote_app.command()
def promote_checkpoint(
    checkpoint: Annotated[str | None, typer.Argument(help="Its directory as the pods see it: /runs/...")] = None,
    digest: Annotated[
        str | None, typer.Option(help="SHA-256 of its manifest.json; default: read it, where the directory is here.")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Back to the checkpoint before.")] = False,
    trusted_keys: Annotated[
        Path | None, typer.Option(help="PEM public keys, one of which must have signed it; wants the directory here.")
    ] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="PEM: TLS to the new replica, with these authorities.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM: the certificate to show it.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM: its private key.")] = None,
    tls_server_name: Annotated[str | None, typer.Option(help="The name in its certificate: it is asked by IP.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Holds a bearer token for it.")] = None,
    canary: Annotated[bool, typer.Option(help="Ask the first new replica for scores; wants a way to pods.")] = True,
    namespace: Namespace = "rlhf",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Serves another checkpoint as the policy: replica by replica, and back by itself when that fails."""
    if rollback == (checkpoint is not None):
        raise typer.BadParameter("give either a checkpoint or --rollback")
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("give both --tls-cert and --tls-key or neither")
    with _explained():
        cluster = Cluster(namespace, kubeconfig=kubeconfig, context=context)
        wanted = _previous(cluster) if checkpoint is None else _checkpoint(checkpoint, digest, trusted_keys)
        ask = _asking(TlsFiles(tls_ca, tls_cert, tls_key, tls_server_name), token_file)
        if canary:
            _require_a_way(cluster)
        promotion.promote(cluster, wanted, ask if canary else None, typer.echo)
        typer.echo(f"the policy serves {wanted.path}, digest {wanted.digest}")


def _checkpoint(path: str, digest: str | None, trusted_keys: Path | None) -> promotion.Checkpoint:
    """Verified, where the directory is here. Raises CannotDo."""
    here = Path(path)
    if not (here / "manifest.json").is_file():
        if digest is None or trusted_keys:
            raise jobs.CannotDo(
                f"{here / 'manifest.json'} is not here: "
                + ("its signature cannot be checked" if trusted_keys else "give its SHA-256 as --digest")
            )
        return promotion.Checkpoint(path, digest)
    try:
        if trusted_keys:
            TrustedKeys(trusted_keys).require(here)
        found = read_manifest(here).digest
    except (BadCheckpoint, BadKey) as error:
        raise jobs.CannotDo(str(error)) from error
    if digest not in (None, found):
        raise jobs.CannotDo(f"{path} has digest {found}, and --digest is {digest}")
    return promotion.Checkpoint(path, found)


def _asking(tls: TlsFiles, token_file: Path | None) -> promotion.Canary:
    return partial(check, tls=tls if tls != TlsFiles() else None, token_file=token_file)


def _previous(cluster: Cluster) -> promotion.Checkpoint:
    previous = promotion.previous_checkpoint(cluster)
    if previous is None:
        raise jobs.CannotDo("no checkpoint was promoted before this one")
    if not previous.digest:
        raise jobs.CannotDo(f"{previous.path} was set without a digest: promote it by its path, with --digest")
    return previous


def _require_a_way(cluster: Cluster) -> None:
    replicas = promotion.ready_replicas(cluster)
    if replicas and not any(map(reachable, replicas)):
        raise jobs.CannotDo(
            f"the policy's pods ({', '.join(replicas)}) cannot be reached from here, so a new one could not be asked "
            'for scores: promote from a pod labelled rewardplane.dev/client: "true", or give --no-canary'
        )


def _end(state: State) -> None:
    raise typer.Exit(0 if state.word == "done" else FAILED)
