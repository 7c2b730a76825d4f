"""`rewardplane watch`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from .run_view import RunView, add_scrape, of_directory
from .scrape import NoMetrics, Scrape, scrape
from .service_view import render_service

app = typer.Typer(add_completion=False)

FAILED = 1


def main(argv: list[str]) -> int:
    """Gives the exit status: 0, 1 for what cannot be watched, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane watch")
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 0
    return 0


@app.command()
def watch(
    what: Annotated[str, typer.Argument(metavar="RUN_DIR|URL", help="A run's directory, or http://HOST:PORT/metrics.")],
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Looks once, and ends.")] = False,
) -> None:
    """Shows a training run or a server in the terminal, until Ctrl-C or the end of the run."""
    console = Console()
    looks = _looks(what, every)
    try:
        first = next(looks)
    except (NoMetrics, FileNotFoundError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    if once:
        console.print(first)
        return
    with Live(first, console=console, auto_refresh=False) as shown:
        for look in looks:
            shown.update(look, refresh=True)


def _looks(what: str, every_s: float) -> Iterator[RenderableType]:
    return _at_url(what, every_s) if what.startswith(("http://", "https://")) else _in_directory(Path(what), every_s)


def _in_directory(directory: Path, every_s: float) -> Iterator[RenderableType]:
    while True:
        view = of_directory(directory)
        yield view.render()
        if view.finished:
            return
        time.sleep(every_s)


def _at_url(url: str, every_s: float) -> Iterator[RenderableType]:
    scrapes: list[Scrape] = [scrape(url)]
    view = RunView(url)
    is_run = scrapes[0].total("rewardplane_trainer_info") is not None
    while True:
        if is_run:
            add_scrape(view, scrapes)
            yield view.render()
            if view.finished:
                return
        elif len(scrapes) > 1:
            yield render_service(url, scrapes[-2], scrapes[-1])
        time.sleep(every_s)
        try:
            scrapes = [scrapes[-1], scrape(url)]
        except NoMetrics as error:  # it may come back: a server that is replaced, a run that goes on
            yield Text(str(error), style="red")
