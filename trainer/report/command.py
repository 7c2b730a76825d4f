"""`rewardplane report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..explain import explained

PAGE = "report.html"

app = typer.Typer(add_completion=False)


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when written, 1 for what is no run's directory, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane report")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.command()
def report(
    directories: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_DIR...", help="A run; others lie over its curves."),
    ],
    out: Annotated[Path | None, typer.Option(help="The page; default: report.html in the first directory.")] = None,
) -> None:
    """Writes what runs did as one HTML page: curves, samples, configuration, versions, where the time went."""
    with explained():
        from .run_directory import report_of
        from .writer import write_report

        typer.echo(str(write_report(report_of(directories), out or directories[0] / PAGE)))
