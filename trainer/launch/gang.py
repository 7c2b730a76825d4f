"""The ranks of a program that uses torch.distributed, over the pods of an Indexed Job.

Every pod runs one agent, which starts its ranks once. Ranks that are restarted in place wait for peers that are gone,
or meet a rendezvous that is closed: a gang that lost one rank was not back after 151 s that way, and after 50 s when
its pods ended and the Job made new ones. So nothing is restarted here; the program goes on from its own checkpoint.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .outcome import BAD_CONFIGURATION, DONE, PREEMPTED, TRY_AGAIN

log = logging.getLogger(__name__)

MEETING_S = 900
"""How long a pod waits for the others to be scheduled, to pull their image and to start."""


@dataclass(frozen=True)
class Gang:
    """Which pods there are, and which one this is."""

    pods: int
    ranks_per_pod: int
    index: int
    """Of this pod, from 0: JOB_COMPLETION_INDEX."""
    first_pod: str
    """HOST:PORT at which pod 0 is found: JOB-0.SERVICE:29500."""

    @property
    def ranks(self) -> int:
        """Of all pods."""
        return self.pods * self.ranks_per_pod


def run_gang(arguments: Sequence[str], gang: Gang) -> int:
    """Runs this pod's ranks of `python ARGUMENTS`, and gives the pod's exit status."""
    # torch takes seconds to import: not for --help.
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=gang.pods,
        max_nodes=gang.pods,
        nproc_per_node=gang.ranks_per_pod,
        run_id="gang",
        # Not c10d: its ranks are not the completion indices, and a pod that comes again finds its meeting closed.
        rdzv_backend="static",
        rdzv_endpoint=gang.first_pod,
        rdzv_configs={"rank": gang.index, "timeout": MEETING_S},
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        return status_of_ranks(failure.exitcode for failure in error.failures.values())
    except SignalException as error:
        return PREEMPTED if error.sigval == signal.SIGTERM else TRY_AGAIN
    except Exception:  # peers that never came, a port that is taken
        log.exception("the gang did not come together")
        return TRY_AGAIN
    return DONE


def status_of_ranks(exit_codes: Iterable[int]) -> int:
    """The pod's status, from the exit codes of the ranks that failed (negative: killed by that signal)."""
    return BAD_CONFIGURATION if BAD_CONFIGURATION in exit_codes else TRY_AGAIN
