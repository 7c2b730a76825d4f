"""A job while it runs: a table on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from . import jobs
from .cluster import ApiError, Cluster, Object, Unreachable
from .job_state import State, state_of
from .logs import Progress, log_lines, progress_of
from .watching import versions


@dataclass
class View:
    """What is known of a job."""

    name: str
    state: State
    pods: list[Object] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    progress: Progress | None = None


def look(cluster: Cluster, name: str) -> View:
    """The job now. Raises CannotDo when there is none."""
    state = state_of(jobs.get(cluster, name))
    view = View(name, state, jobs.pods(cluster, name), jobs.complaints(cluster, name))
    for line in log_lines(cluster, name, follow=False):
        view.progress = progress_of(line) or view.progress
    return view


def render(view: View) -> RenderableType:
    head = Table(show_header=False, box=None)
    head.add_row("job", view.name)
    head.add_row("state", view.state.word + (f" ({view.state.why})" if view.state.why else ""))
    if view.progress:
        head.add_row("updates", f"{view.progress.updates} of {view.progress.of}")
        for name, figure in view.progress.figures.items():
            head.add_row(name, figure)
    for complaint in view.complaints[-3:]:
        head.add_row("warning", complaint)
    if not view.pods:
        return head
    table = Table("pod", "phase", "node", "ended with", box=None)
    for pod in view.pods:
        table.add_row(
            pod["metadata"]["name"],
            pod["status"].get("phase", ""),
            pod["spec"].get("nodeName", ""),
            ", ".join(map(str, exit_codes(pod))),
        )
    return Group(head, table)


def exit_codes(pod: Object) -> list[int]:
    statuses = pod["status"].get("containerStatuses", [])
    return [item["state"]["terminated"]["exitCode"] for item in statuses if "terminated" in item.get("state", {})]


def follow(cluster: Cluster, name: str, console: Console) -> State:
    """Shows the job until it has ended, and gives how."""
    view = View(name, state_of(jobs.get(cluster, name)))
    stop = threading.Event()
    # A daemon, since it sits in a read of the log that may not end before the program does.
    reader = threading.Thread(target=_read_log, args=(cluster, view, stop, console), daemon=True)
    reader.start()
    shown = Live(console=console, auto_refresh=False) if console.is_terminal else None
    try:
        with shown or contextlib.nullcontext():
            for job in versions(cluster, jobs.BATCH, "jobs", name, window_s=10):
                _update(cluster, view, state_of(job), console if shown is None else None)
                if shown is not None:
                    shown.update(render(view), refresh=True)
                if view.state.final:
                    reader.join(5)
                    return view.state
    finally:
        stop.set()
    raise AssertionError("a watch has no end")


def _update(cluster: Cluster, view: View, state: State, lines: Console | None) -> None:
    if lines and state != view.state:
        _say(lines, f"{view.name} is {state.word}" + (f" ({state.why})" if state.why else ""))
    view.state, view.pods = state, jobs.pods(cluster, view.name)
    complaints = jobs.complaints(cluster, view.name) if state.word == "starting" else []
    for complaint in complaints if lines else ():
        if lines and complaint not in view.complaints:
            _say(lines, f"warning: {complaint}")
    view.complaints = complaints


def _read_log(cluster: Cluster, view: View, stop: threading.Event, console: Console) -> None:
    # What becomes of the job is the watch's to say; a log that cannot be read is no reason to stop watching.
    with contextlib.suppress(ApiError, Unreachable, jobs.CannotDo):
        for line in log_lines(cluster, view.name, follow=True):
            if stop.is_set():
                return
            view.progress = progress_of(line) or view.progress
            if not console.is_terminal:
                _say(console, line)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
