"""A job's log, from one pod to the next and over broken connections."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import jobs
from .cluster import ApiError, Cluster, Object
from .job_state import state_of

PAUSE_S = 1.0
_PROGRESS = re.compile(r"(?:sft|reward|ppo) (\d+)/(\d+)((?: +\w+ \S+)*)")


@dataclass(frozen=True)
class Progress:
    """What a trainer's line "ppo 3/20  score 0.12  kl_nats 0.5" says."""

    updates: int
    of: int
    figures: dict[str, str]


def progress_of(line: str) -> Progress | None:
    """None for a line that says something else."""
    match = _PROGRESS.fullmatch(line.strip())
    if match is None:
        return None
    words = match[3].split()
    return Progress(int(match[1]), int(match[2]), dict(zip(words[::2], words[1::2], strict=True)))


@dataclass
class _Position:
    """How far a pod's log has been read. The server only knows seconds, so a later request repeats some lines."""

    time: str = ""
    lines: int = 0  # that carried this time
    repeated: int = field(default=0, init=False)

    def rewind(self) -> None:
        self.repeated = 0

    def is_new(self, stamp: str) -> bool:
        if stamp < self.time:
            return False
        if stamp > self.time:
            self.time, self.lines = stamp, 1
            return True
        self.repeated += 1
        if self.repeated <= self.lines:
            return False
        self.lines += 1
        return True


def log_lines(cluster: Cluster, name: str, *, follow: bool) -> Iterator[str]:
    """The lines of the job's newest pod; with `follow` those to come as well, and those of the pods that replace it.

    Raises CannotDo when there is no such job.
    """
    job: Object | None = jobs.get(cluster, name)
    read: dict[str, _Position] = {}
    ended: set[str] = set()
    while True:
        state = state_of(job)
        found = [pod for pod in jobs.pods(cluster, name) if pod["metadata"]["name"] not in ended]
        for pod in found if follow else found[-1:]:
            position = read.setdefault(pod["metadata"]["name"], _Position())
            yield from _pod_lines(cluster, pod, position, follow)
            if pod["status"].get("phase") in ("Succeeded", "Failed"):
                ended.add(pod["metadata"]["name"])
        if not follow or state.final:
            return
        time.sleep(PAUSE_S)
        listing = cluster.get(cluster.path(jobs.BATCH, "jobs"), fieldSelector=f"metadata.name={name}")
        job = next(iter(listing["items"]), None)


def _pod_lines(cluster: Cluster, pod: Object, position: _Position, follow: bool) -> Iterator[str]:
    query = {"container": jobs.CONTAINER, "timestamps": "true"}
    if follow:
        query["follow"] = "true"
    if position.time:
        query["sinceTime"] = position.time
    position.rewind()
    try:
        for line in cluster.lines(cluster.path("v1", "pods", f"{pod['metadata']['name']}/log"), **query):
            stamp, _, text = line.partition(" ")
            # Compared as text: nanoseconds are not cut at trailing zeros.
            if position.is_new(stamp):
                yield text
    except ApiError as error:
        if error.status not in (400, 404):  # its container has not started yet; it is gone
            raise
