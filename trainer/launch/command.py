"""`rewardplane pod`: a training command as the process of a pod."""

from __future__ import annotations

import argparse
import logging
import os
import signal
from types import FrameType

from .gang import Gang, run_gang
from .outcome import BAD_CONFIGURATION, DONE, PREEMPTED, TRY_AGAIN, Preempted, exit_code

log = logging.getLogger(__name__)

RANK = "rewardplane.trainer.launch.rank"

STATUSES = f"""\
It ends with a status that a Kubernetes Job can act upon:

  {DONE:3}  done
  {BAD_CONFIGURATION:3}  wrong flags, settings, data or judges: fail the Job, again would fail again
  {TRY_AGAIN:3}  anything else: start another pod, which goes on from the newest saved state
  {PREEMPTED:3}  told to end by SIGTERM

`train` runs in this process, or, with several pods or ranks, in one process each, which shard the model. So does a
Python program of your own that uses torch.distributed. Ranks find each other, and end together.
"""


def pod(argv: list[str]) -> int:
    """Gives the exit status of the command in `argv`."""
    parser = _parser()
    try:
        options = parser.parse_args(argv)
        gang = _gang(parser, options)
    except SystemExit as end:
        return DONE if end.code == DONE else BAD_CONFIGURATION
    program, *arguments = options.command
    if program == "python":
        return run_gang(arguments, gang)
    if gang.ranks > 1:
        return run_gang(["-m", RANK, *arguments], gang)
    # As PID 1 of a container a process without a handler does not even notice SIGTERM.
    signal.signal(signal.SIGTERM, _preempt)
    return run_in_process(arguments)


def run_in_process(argv: list[str]) -> int:
    """Runs `rewardplane train` with these arguments, and gives the pod's exit status."""
    from ..__main__ import app

    try:
        app(args=argv, prog_name="rewardplane pod train")
    except SystemExit as end:
        status = exit_code(end)
    except Exception as error:  # whatever it is, it goes to the log whole, and the status says what to do about it
        log.exception("the trainer failed")
        status = exit_code(error)
    else:
        status = DONE
    if status != DONE:
        log.error("ending with %d", status)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "rewardplane pod",
        description="Runs a training command as the process of a pod.",
        epilog=STATUSES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--pods", type=int, default=1, help="pods of the Job; default: %(default)s")
    parser.add_argument("--ranks-per-pod", type=int, default=1, help="processes in each; default: %(default)s")
    parser.add_argument("--first-pod", metavar="HOST:PORT", default="127.0.0.1:29500", help="where pod 0 is found")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="train sft|reward|ppo ..., or python FILE ..."
    )
    return parser


def _gang(parser: argparse.ArgumentParser, options: argparse.Namespace) -> Gang:
    if options.command[:1] not in (["train"], ["python"]):
        parser.error("the command is `train sft|reward|ppo ...`, or `python FILE ...`")
    if options.pods < 1 or options.ranks_per_pod < 1:
        parser.error("--pods and --ranks-per-pod are 1 or more")
    index = int(os.environ.get("JOB_COMPLETION_INDEX", "0"))
    if index >= options.pods:
        parser.error(f"this is pod {index} (JOB_COMPLETION_INDEX) of --pods {options.pods}")
    return Gang(options.pods, options.ranks_per_pod, index, options.first_pod)


def _preempt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough: a second would interrupt the way out
    raise Preempted
