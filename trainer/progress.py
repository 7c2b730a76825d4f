"""What a run tells people: a progress bar, a JSON line per update, TensorBoard scalars, metrics for Prometheus."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsFloat

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from .metric_lines import METRICS as METRICS
from .metric_lines import read_metrics as read_metrics
from .metric_lines import whole_lines
from .metrics.exporter import RunMetrics

TENSORBOARD = "tensorboard"
PLAIN_INTERVAL_S = 5.0
"""Where there is no terminal, one line so often: log collectors keep every one of them."""


class RunLog:
    """Reports the updates of one run, numbered from 0; what is measured keeps its name in the first three places.

    `directory` gets metrics.jsonl ({"update": n, name: value, ...}, one line an update; null for what is not
    finite) and tensorboard/. A run that goes on after update n gives `resumed_update`=n: what was written
    about later updates is dropped, since they are done again. Otherwise both start empty. A `silent` log is that of
    a process beside the one that reports.
    """

    def __init__(
        self,
        directory: Path,
        total: int,
        description: str,
        *,
        resumed_update: int | None = None,
        metrics: RunMetrics | None = None,
        silent: bool = False,
        console: Console | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._silent = silent
        self._path = directory / METRICS
        self._total = total
        self._description = description
        self._console = console or Console()
        self._resumed_update = resumed_update
        self._metrics = metrics
        self._tensorboard_directory = directory / TENSORBOARD
        self._plain_at = -math.inf

    def __enter__(self) -> Self:
        if self._silent:
            return self
        _keep_updates(self._path, self._resumed_update)
        if self._resumed_update is None:
            for old in self._tensorboard_directory.glob("events.out.tfevents.*"):
                old.unlink()
        self._lines = self._path.open("a", encoding="utf-8")
        purge = None if self._resumed_update is None else self._resumed_update + 1
        self._tensorboard = SummaryWriter(str(self._tensorboard_directory), purge_step=purge)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        done = 0 if self._resumed_update is None else self._resumed_update + 1
        if self._metrics:
            self._metrics.resume(done)
        self._task = self._bar.add_task(self._description, total=self._total, completed=done, shown="")
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._silent:
            self._bar.stop()
            self._tensorboard.close()
            self._lines.close()

    def write(self, update: int, metrics: Mapping[str, SupportsFloat], show: Sequence[str] = ()) -> None:
        """Reports what was measured in an update; `show` names the metrics that the bar shows."""
        if self._silent:
            return
        numbers = {name: value if isinstance(value, int) else float(value) for name, value in metrics.items()}
        finite = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._lines.write(json.dumps({"update": update, **finite}) + "\n")
        self._lines.flush()
        if self._metrics:
            self._metrics.observe(update, numbers)
        for name, number in numbers.items():
            self._tensorboard.add_scalar(name, number, update)
        shown = "  ".join(f"{name} {_short(numbers[name])}" for name in show if name in numbers)
        done = min(update + 1, self._total)  # a run may report once more, of how it ended
        self._bar.update(self._task, completed=done, shown=shown)
        if not self._console.is_terminal:
            self._write_plain(done, shown)

    def _write_plain(self, done: int, shown: str) -> None:
        now = time.monotonic()
        if now - self._plain_at >= PLAIN_INTERVAL_S or done == self._total:
            self._plain_at = now
            line = f"{self._description} {done}/{self._total}  {shown}".rstrip()
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def pace(tokens: int, seconds: float) -> dict[str, float]:
    """The figures of an update that went through so many tokens in so long."""
    return {"tokens": tokens, "seconds_update": seconds, "tokens_per_s": tokens / seconds}


def _keep_updates(path: Path, last: int | None) -> None:
    """Rewrites the file without updates after `last`, or without any."""
    kept = [] if last is None else [row for row in whole_lines(path) if (row["update"] or 0) <= last]
    staging = path.with_suffix(".tmp")
    staging.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    os.replace(staging, path)


def _short(number: float) -> str:
    return f"{number:,.0f}" if isinstance(number, int) or abs(number) >= 1000 else f"{number:.4g}"
