"""What a Job is doing, in one word."""

from __future__ import annotations

from dataclasses import dataclass

from .cluster import Object

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True)
class State:
    word: str
    """queued, suspended, starting, running, ending, done, failed or deleted."""
    why: str = ""

    @property
    def final(self) -> bool:
        return self.word in ("done", "failed", "deleted")


DELETED = State("deleted")


def state_of(job: Object | None) -> State:
    """From the conditions first: FailureTarget and SuccessCriteriaMet say how a Job will end, not that it has."""
    if job is None:
        return DELETED
    status = job.get("status", {})
    conditions = {item["type"]: item for item in status.get("conditions", []) if item["status"] == "True"}
    if "Complete" in conditions:
        return State("done")
    if "Failed" in conditions:
        return State("failed", _reason(conditions["Failed"]))
    for name in ("FailureTarget", "SuccessCriteriaMet"):
        if name in conditions:
            return State("ending", _reason(conditions[name]))
    if job["metadata"].get("deletionTimestamp"):
        return State("ending", "being deleted")
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get(QUEUE_LABEL)
        return State("queued", f"in queue {queue}") if queue else State("suspended")
    if not status.get("active"):
        return State("starting", "no pod yet")
    wanted = job["spec"].get("parallelism", 1)
    ready = status.get("ready", 0)
    return State("running") if ready >= wanted else State("starting", f"{ready} of {wanted} pods ready")


def _reason(condition: Object) -> str:
    return f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": ")
