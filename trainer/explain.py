"""What a command says when it cannot go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from .jsonl import BadData

FAILED = 1


@contextmanager
def explained() -> Iterator[None]:
    """Turns what a user can put right into one message and exit status 1; a bug keeps its traceback."""
    # torch and transformers take seconds to import: not before a command runs.
    from transformers.utils.logging import disable_progress_bar

    from rewardplane.errors import RewardplaneError
    from rewardplane.modeling.checkpoint import BadCheckpoint
    from rewardplane.modeling.durable import DISK_TROUBLE
    from rewardplane.modeling.encoding import UnencodablePair

    from .config import ConfigError
    from .demo.package_index import PackageUnavailable
    from .demo.servers import ServerFailed
    from .judges import JudgeGone, JudgeMisfit
    from .optim import TrainingDiverged

    expected = (
        BadCheckpoint, BadData, ConfigError, JudgeGone, JudgeMisfit, RewardplaneError, PackageUnavailable,
        ServerFailed, TrainingDiverged, UnencodablePair,
    )  # fmt: skip
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading and saving weights: commands say themselves what they do
    try:
        yield
    except expected as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except OSError as error:
        if error.errno not in DISK_TROUBLE:
            raise
        typer.echo(f"error: {error}; what was saved before is whole", err=True)
        raise typer.Exit(FAILED) from error


@contextmanager
def data_explained() -> Iterator[None]:
    """As `explained`, for commands that read data and nothing else: torch is not loaded for them."""
    try:
        yield
    except BadData as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
