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
        str | None, typer.Option(help="smollm2, or the directory of a causal language model; default: from scratch.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/demo"),
    updates: Annotated[int | None, typer.Option(help="PPO updates; default: 50, and 30 for smollm2.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another run.")] = 0,
    control: Annotated[
        bool, typer.Option("--control", help="Also train a policy with the reward's sign flipped.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Empty the directory even if no demo wrote it.")] = False,
) -> None:
    """Runs the whole loop on this machine: language model, reward model, judges, PPO, a served policy."""
    console = Console()
    with explained():
        from .loop import DemoOptions, Loop
        from .package_index import cache_directory
        from .settings import recipe_of

        cache = cache_directory(os.environ)
        recipe = recipe_of(model, cache)
        _make_room(directory, console, force=force)
        logging.basicConfig(
            filename=directory / "demo.log", level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        loop = Loop(DemoOptions(directory, cache, recipe, updates or recipe.updates, seed, control), console)
        loop.run()
    total = sum(seconds for _, seconds in loop.seconds)
    console.print("  ".join(f"{name.split(':')[0]} {seconds:.0f} s" for name, seconds in loop.seconds))
    console.print(f"{total:.0f} s in all")


def _make_room(directory: Path, console: Console, *, force: bool) -> None:
    """A demo replaces the last one; what no demo wrote is removed by `force` alone."""
    if directory.exists() and any(directory.iterdir()):
        is_demo = (directory / "data").is_dir() and (directory / "demo.log").is_file()
        if not is_demo and not force:
            console.print(f"{directory} is not empty and holds no demo: choose another --directory")
            raise typer.Exit(FAILED)
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
