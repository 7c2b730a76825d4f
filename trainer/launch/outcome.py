"""What became of a training process, in exit codes that a Job's podFailurePolicy can tell apart."""

from __future__ import annotations

import typer

DONE = 0
BAD_CONFIGURATION = 64
"""Wrong flags, settings, data or checkpoints, judges that do not fit, a run that diverged: again would fail again."""
TRY_AGAIN = 75
"""Everything else: judges that are gone, a full disk, no memory, a lost GPU, a bug."""
PREEMPTED = 143
"""Told to end by SIGTERM (128 + 15)."""

FLAGS_ARE_WRONG = 2
"""What typer ends with."""


class Preempted(SystemExit):
    """SIGTERM arrived. Leaves the run as an interrupt from the keyboard would: files are whole or absent."""

    def __init__(self) -> None:
        super().__init__(PREEMPTED)


def exit_code(end: BaseException) -> int:
    """The exit code of a training command that ended with `end`, a SystemExit or what nobody expected."""
    if isinstance(end, SystemExit):
        if end.code in (None, DONE):
            return DONE
        if end.code in (PREEMPTED, FLAGS_ARE_WRONG):
            return PREEMPTED if end.code == PREEMPTED else BAD_CONFIGURATION
    return BAD_CONFIGURATION if isinstance(_cause(end), _permanent()) else TRY_AGAIN


def _cause(end: BaseException) -> BaseException:
    """What the command said as it ended: an error becomes typer.Exit, and that becomes SystemExit."""
    while isinstance(end, SystemExit | typer.Exit):
        before = end.__cause__ or end.__context__
        if before is None:
            return end
        end = before
    return end


def _permanent() -> tuple[type[BaseException], ...]:
    # As in ..explain: torch and transformers are not imported for --help and wrong flags.
    from rewardplane.errors import (
        InvalidRequest,
        MessageTooLarge,
        PermissionDenied,
        PreconditionFailed,
        Unauthenticated,
        Unimplemented,
    )
    from rewardplane.modeling.checkpoint import BadCheckpoint
    from rewardplane.modeling.encoding import UnencodablePair

    from ..config import ConfigError
    from ..jsonl import BadData
    from ..judges import JudgeMisfit
    from ..optim import TrainingDiverged

    return (
        BadCheckpoint, BadData, ConfigError, InvalidRequest, JudgeMisfit, MessageTooLarge, PermissionDenied,
        PreconditionFailed, TrainingDiverged, Unauthenticated, UnencodablePair, Unimplemented,
    )  # fmt: skip
