"""`rewardplane demo`."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..explain import FAILED, explained

app = typer.Typer(add_completion=False)


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when the loop ran to its end."""
    try:
        app(args=argv, prog_name="rewardplane demo")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.command()
def command(
    model: Annotated[
        Path | None, typer.Option(help="Directory of a causal language model; default: one from scratch.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/demo"),
    updates: Annotated[int, typer.Option(help="PPO updates.")] = 50,
    seed: Annotated[int, typer.Option(help="Another seed is another run.")] = 0,
    control: Annotated[
        bool, typer.Option("--control", help="Also train a policy with the reward's sign flipped.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished demo in the directory.")] = False,
) -> None:
    """Runs the whole loop on this machine: language model, reward model, judges, PPO, a served policy."""
    console = Console()
    if directory.exists() and any(directory.iterdir()):
        if not force and not (directory / "report.html").exists() and not _is_demo(directory):
            console.print(f"{directory} is not empty and holds no demo: choose another --directory")
            raise typer.Exit(FAILED)
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(
        filename=directory / "demo.log", level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with explained():
        from .loop import DemoOptions, Loop
        from .vader_sdist import cache_directory

        options = DemoOptions(directory, cache_directory(os.environ), model, updates, seed, control)
        loop = Loop(options, console)
        loop.run()
    total = sum(seconds for _, seconds in loop.seconds)
    console.print("  ".join(f"{name.split(':')[0]} {seconds:.0f} s" for name, seconds in loop.seconds))
    console.print(f"{total:.0f} s in all")


def _is_demo(directory: Path) -> bool:
    return (directory / "data").is_dir() and (directory / "demo.log").is_file()
