"""`rewardplane round`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..explain import explained

if TYPE_CHECKING:
    from .place import Round

app = typer.Typer(add_completion=False, no_args_is_help=True, help="One turn of the loop: sample, rank, train again.")

Place = Annotated[str, typer.Argument(metavar="ROUND", help="Its directory, or a URL of fsspec.")]
Target = Annotated[str | None, typer.Option(help="Address of a running server, host:port; else one is started.")]


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when done, 1 for what cannot be done now or with this data, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane round")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.callback()
def common(log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning") -> None:
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")


# torch takes seconds to import: each command imports its step, so that --help answers at once.


@app.command()
def start(
    place: Place,
    config: Annotated[Path | None, typer.Option(help="TOML file with the settings; else the parent's.")] = None,
    parent: Annotated[str | None, typer.Option(help="The round before: directory or URL.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Sets one key: sample.answers=9.")
    ] = None,
) -> None:
    """Makes a round: fixes its settings, its reference and whose answers are ranked."""
    with explained():
        from .place import locked
        from .start import start_round

        with locked(place):
            _tell(start_round(place, parent, config, overrides or ()))


@app.command()
def sample(place: Place, policy_target: Target = None) -> None:
    """Samples answers from the policy of the round before and chooses what is ranked."""
    with explained():
        from .place import locked, open_round
        from .sample import sample_round
        from .servers import processes

        with locked(place):
            made = open_round(place)
            _tell(sample_round(made, processes(made.directory / "servers", {"policy": policy_target})))


@app.command()
def label(
    place: Place,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="A simulated ranker (lexicon with noise) ranks; no person does.")
    ] = False,
    partial: Annotated[bool, typer.Option("--partial", help="Takes in what is ranked so far, for good.")] = False,
) -> None:
    """Takes in the rankings that `rewardplane label ROUND` collected from people."""
    with explained():
        from .label import label_round
        from .place import locked, open_round

        with locked(place):
            _tell(label_round(open_round(place), simulate=simulate, partial=partial))


@app.command()
def train(
    place: Place,
    reward_target: Target = None,
    reference_target: Target = None,
    reward_only: Annotated[bool, typer.Option("--reward-only", help="Stops when the reward model is trained.")] = False,
) -> None:
    """Trains the reward model on the rankings, then the policy against it."""
    with explained():
        from .place import locked, open_round
        from .servers import processes
        from .train import train_policy, train_reward

        with locked(place):
            made = train_reward(open_round(place))
            if not reward_only:
                targets = {"reward": reward_target, "reference": reference_target}
                made = train_policy(made, processes(made.directory / "servers", targets))
            _tell(made)


@app.command()
def status(
    place: Place,
    html: Annotated[Path | None, typer.Option(help="Also writes the lineage as a page.")] = None,
) -> None:
    """Draws the lineage, and says what comes next."""
    with explained():
        from .place import open_round
        from .status_page import write_page

        made = open_round(place)
        _tell(made)
        if html is not None:
            write_page(made, html)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A round.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="A later round.")],
    judge: Annotated[
        str, typer.Option(help="lexicon (simulated, without noise), or reward: the second round's reward model.")
    ] = "lexicon",
    equal_kl: Annotated[
        bool, typer.Option("--equal-kl", help="Of each round's checkpoints, two of about equal KL to the reference.")
    ] = False,
    answers: Annotated[int, typer.Option(help="Sampled for each prompt from each policy.", min=1)] = 4,
    reference_target: Target = None,
) -> None:
    """Compares two rounds on held-out prompts and on the newest held-out rankings."""
    with explained():
        from .compare import compare_rounds
        from .comparison import comparison_table
        from .place import open_round
        from .servers import processes

        newer = open_round(second)
        serve = processes(newer.directory / "servers", {"reference": reference_target})
        found = compare_rounds(open_round(first), newer, serve, judge=judge, equal_kl=equal_kl, answers=answers)
    Console().print(comparison_table(found))


def _tell(made: Round) -> None:
    from .lineage import lineage_text

    typer.echo(lineage_text(made))
