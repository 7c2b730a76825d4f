"""`rewardplane label`: the ranking page, its links, and the round trip to other tools."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..explain import data_explained
from .access import ACCESS, Access, grant, links, read_access
from .items import FEWEST, MOST, read_items
from .round_trip import Form, export, import_rankings
from .store import STORE, LabelStore

ROUND = "round.json"
SOLE_RANKER = "me"
"""Who ranks where no name was ever given."""


app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Ranking by people. `rewardplane label DIRECTORY` is `rewardplane label serve DIRECTORY`.",
)

Directory = Annotated[Path, typer.Argument(help="Holds items.jsonl; gets labels.sqlite and access.json.")]
Rankers = Annotated[
    list[str] | None, typer.Option("--ranker", metavar="NAME", help="Somebody who ranks; may be given several times.")
]
Url = Annotated[str | None, typer.Option("--url", help="Where people reach the page, for their links.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")]


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when all went well, 1 for bad items or rankings, 2 for wrong flags."""
    commands = {command.name for command in app.registered_commands}
    words = argv if not argv or argv[0] in {*commands, "--help"} else ["serve", *argv]
    try:
        app(args=words, prog_name="rewardplane label")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.command(name="serve")
def serve_command(
    directory: Directory,
    port: Port = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    rankers: Rankers = None,
    per_item: Annotated[
        int | None, typer.Option(min=1, help="People who rank each item; default: as the round has it, else 1.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the orders in which items and answers are shown.")] = 0,
    url: Url = None,
) -> None:
    """Serves the ranking page and prints a link for everybody."""
    from .server import listening_socket, run

    people = per_item or _people_of_round(directory)
    with data_explained(), LabelStore(directory / STORE, read_items(directory), per_item=people, seed=seed) as store:
        access = grant(directory, rankers or ())
        access = access if access.rankers else grant(directory, [SOLE_RANKER])
        listening = listening_socket(host, port)
        reached = url or f"http://{_written(host)}:{listening.getsockname()[1]}"
        _warn_of_network(host)
        typer.echo(f"{len(store.items)} items, to be ranked by {people} each: {reached}")
        if rankers or sys.stdout.isatty():
            _tell_links(access, reached)
        else:  # secrets do not belong into a log
            typer.echo(f"Links: rewardplane label links {directory} --url {reached}")
        run(store, directory, listening)


@app.command(name="links")
def links_command(
    directory: Directory,
    rankers: Rankers = None,
    revoked: Annotated[
        list[str] | None, typer.Option("--revoke", metavar="NAME", help="Their link ends; what they said stays.")
    ] = None,
    url: Url = None,
) -> None:
    """Prints the links, of a server that runs, too; makes those of new names."""
    with data_explained():
        read_items(directory)
        _tell_links(grant(directory, rankers or (), revoked or ()), url or "http://127.0.0.1:8000")


@app.command(name="export")
def export_command(
    directory: Directory,
    out: Annotated[Path, typer.Argument(help="File to be written.")],
    form: Annotated[Form, typer.Option("--to", help="Whose form the file has.")] = Form.RANKINGS,
    answers: Annotated[int | None, typer.Option(min=FEWEST, max=MOST, help="Only items with so many answers.")] = None,
) -> None:
    """Writes items and rankings for training, for TRL, Label Studio or Argilla."""
    with data_explained(), LabelStore(directory / STORE, read_items(directory)) as store:
        for path in export(store, form, out, answers):
            typer.echo(str(path))


@app.command(name="import")
def import_command(
    directory: Directory,
    file: Annotated[Path, typer.Argument(help="What Label Studio, Argilla or `export` wrote about these items.")],
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave bad rankings out; each is named.")] = False,
) -> None:
    """Takes rankings that were made elsewhere; all of them or, where one is bad, none."""
    with data_explained(), LabelStore(directory / STORE, read_items(directory)) as store:
        rankers = list(read_access(directory).rankers) if (directory / ACCESS).exists() else []
        found = import_rankings(file, store, rankers, skip_bad=skip_bad)
    for problem in found.problems:
        typer.echo(f"left out: {problem}", err=True)
    typer.echo(f"{len(found.rankings)} rankings: {directory / STORE}")


def _people_of_round(directory: Path) -> int:
    """What `label.per_item` of a round is; 1 in a directory that is no round."""
    record = directory / ROUND
    if not record.is_file():
        return 1
    return int(json.loads(record.read_text(encoding="utf-8"))["settings"]["label"]["per_item"])


def _tell_links(access: Access, url: str) -> None:
    typer.echo("Whoever has a link ranks under its name: give each person their own.")
    for name, link in links(access, url).items():
        typer.echo(f"{name or 'owner (progress, agreement)'}: {link}")


def _warn_of_network(host: str) -> None:
    if not _is_loopback(host):
        typer.echo(
            f"warning: {host} can be reached from the network, and nothing is encrypted: put a proxy that speaks TLS "
            "before it, and give its address as --url",
            err=True,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host
