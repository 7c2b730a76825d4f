"""`rewardplane train sft|reward|ppo`, `rewardplane data`, `rewardplane eval` and `rewardplane demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rewardplane.logs import configure_logs
from rewardplane.process import importing
from rewardplane.span_export import export_spans

from .explain import FAILED, explained

if TYPE_CHECKING:
    from .ppo.config import PpoRunConfig
    from .processes import Processes

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Trains an SFT, reward or policy model.")

ConfigFile = Annotated[Path, typer.Option("--config", help="TOML file with the settings of the run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Sets one key: optimizer.eps=1e-6.")
]
LogFormat = Annotated[
    Literal["text", "json"],
    typer.Option(help="text for people; json is an object a line, with the ids of the request."),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def train(argv: list[str]) -> int:
    """Gives the exit status: 0 when trained, 1 for bad settings or data, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane train")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def demo(argv: list[str]) -> int:
    """Gives the exit status of the whole loop on one machine."""
    from .demo.command import main

    status: int = main(argv)
    return status


def data(argv: list[str]) -> int:
    """Gives the exit status of looking at files of rankings."""
    from .datacheck.command import main

    status: int = main(argv)
    return status


def evaluate(argv: list[str]) -> int:
    """Gives the exit status of an evaluation."""
    from .evaluation.command import main

    status: int = main(argv)
    return status


@app.callback()
def common(log_level: LogLevel = "warning", log_format: LogFormat = "text") -> None:
    configure_logs(log_level, log_format)
    export_spans("rewardplane-trainer", os.environ)


# torch takes seconds to import: each command imports its trainer, so that --help answers at once.


@app.command()
def sft(config: ConfigFile, overrides: Overrides = None) -> None:
    """Fine-tunes a language model on demonstrations, or trains one from scratch."""
    with explained():
        with importing():
            from .config import load_config
            from .processes import joined
            from .sft.config import SftConfig
            from .sft.train import run_sft

        settings = load_config(config, SftConfig, overrides or ())
        with joined(settings.device) as processes:
            result = run_sft(settings, processes)
            measured = "" if result.heldout_loss is None else f", held-out loss {result.heldout_loss:.3f}"
            _say(processes, f"{result.checkpoint}{measured}")


@app.command()
def reward(config: ConfigFile, overrides: Overrides = None) -> None:
    """Trains a reward model on ranked answers."""
    with explained():
        with importing():
            from .config import load_config
            from .processes import joined
            from .reward.config import RewardConfig
            from .reward.train import run_reward

        settings = load_config(config, RewardConfig, overrides or ())
        with joined(settings.device) as processes:
            result = run_reward(settings, processes)
            heldout = result.heldout
            measured = f", held-out accuracy {heldout.accuracy:.3f} of {heldout.pairs} pairs" if heldout else ""
            _say(processes, f"{result.checkpoint}{measured}")


@app.command()
def ppo(
    config: ConfigFile,
    overrides: Overrides = None,
    plan: Annotated[bool, typer.Option("--plan", help="Says what the run would do, and stops.")] = False,
) -> None:
    """Trains a policy against a reward and a reference server."""
    with explained():
        from .config import load_config
        from .ppo.config import PpoRunConfig

        settings = load_config(config, PpoRunConfig, overrides or ())
        if plan:
            _tell_plan(settings)
            return
        with importing():
            from .ppo.train import run_ppo
            from .processes import LONGEST_WAIT_S, joined

        # While one process waits for a judge, the others wait for it.
        outage_s = max(settings.reward.outage_limit_s, settings.reference.outage_limit_s)
        with joined(settings.device, LONGEST_WAIT_S + outage_s) as processes:
            _say(processes, str(run_ppo(settings, processes=processes).checkpoint))


def _say(processes: Processes, line: str) -> None:
    """Once, however many processes have trained."""
    if processes.first:
        typer.echo(line)


def _tell_plan(settings: PpoRunConfig) -> None:
    """Exit status 1 when something would stop the run."""
    from .ppo.plan import make_plan

    found = make_plan(settings)
    for word, line in found.lines:
        typer.echo(f"{word:<10} {line}")
    for problem in found.problems:
        typer.echo(f"error: {problem}", err=True)
    if found.problems:
        raise typer.Exit(FAILED)
