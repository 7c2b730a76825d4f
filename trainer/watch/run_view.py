"""What the terminal shows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..metric_lines import METRICS, read_metrics
from ..metrics.names import GAUGES, PREFIX, STAGES
from ..run_record import read_record
from .scrape import Scrape
from .sparkline import sparkline

Row = dict[str, float | None]

FIGURES = (
    "score", "reward", "kl_nats", "kl_coef", "entropy", "answer_tokens", "ended_ratio", "policy_loss", "value_loss",
    "ptx_loss", "explained_variance", "clip_ratio", "eval_score", "eval_kl_nats", "eval_judge",
    "eval_distinct_bigrams_ratio", "loss", "accuracy", "heldout_loss", "heldout_accuracy", "learning_rate",
)  # fmt: skip
"""In this order; those that a run does not have are left out."""
WIDTH = 40


@dataclass
class RunView:
    """Rows as in metrics.jsonl, and what the run is to become."""

    name: str
    kind: str = ""
    planned: int | None = None
    done: int = 0
    finished: bool = False
    rows: list[Row] = field(default_factory=list)

    def render(self) -> RenderableType:
        head = Text.assemble((self.name, "bold"), f"  {self.kind}  update {self.done:,}")
        if self.planned:
            head.append(f" of {self.planned:,}")
        if self.finished:
            head.append("  ended")
        elif self.planned and (left := self._left_s()) is not None:
            head.append(f"  about {timedelta(seconds=round(left))} left")
        parts: list[RenderableType] = [head]
        if self.planned:
            parts.append(ProgressBar(total=self.planned, completed=self.done, width=WIDTH))
        return Group(*parts, self._curves(), self._times())

    def _left_s(self) -> float | None:
        seconds = [total for row in self.rows[-20:] if (total := _seconds(row)) > 0]
        left = (self.planned or 0) - self.done
        return left * sum(seconds) / len(seconds) if seconds else None

    def _curves(self) -> Table:
        table = Table("figure", "last", "", box=None, pad_edge=False)
        table.columns[1].justify = "right"
        for name in FIGURES:
            values = [value for row in self.rows if (value := row.get(name)) is not None]
            if values:
                table.add_row(name, f"{values[-1]:.4g}", sparkline(values, WIDTH))
        return table

    def _times(self) -> Text:
        """Of the last updates, by stage."""
        recent = self.rows[-20:]
        updates = sum(_seconds(row) > 0 for row in recent)
        sums = {stage: sum(row.get(figure) or 0.0 for row in recent) for figure, stage in STAGES.items()}
        spent = [f"{stage} {seconds / updates:.2f} s" for stage, seconds in sums.items() if seconds and updates]
        return Text("an update: " + ", ".join(spent) if spent else "")


def _seconds(row: Row) -> float:
    return row.get("seconds_total") or row.get("seconds_update") or 0.0


def of_directory(directory: Path) -> RunView:
    """Raises FileNotFoundError for a directory without metrics."""
    if not (directory / METRICS).is_file():
        raise FileNotFoundError(f"{directory} holds no {METRICS}: it is no run's directory")
    rows = read_metrics(directory)
    record = read_record(directory)
    done = max((int(row["update"] or 0) + 1 for row in rows if _seconds(row)), default=0)
    view = RunView(directory.resolve().name, rows=rows, done=done)
    if record:
        view.kind, view.planned = record.kind, record.updates
        view.finished = done >= record.updates
    return view


def add_scrape(view: RunView, scrapes: Sequence[Scrape]) -> None:
    """Takes the newest scrape of a run as another row, if it has gone on since the last."""
    now = scrapes[-1]
    done = int(now.total(f"{PREFIX}update") or 0)
    row: Row = {figure: now.total(PREFIX + metric) for figure, metric in GAUGES.items()}
    if len(scrapes) > 1 and done > view.done:
        before, updates = scrapes[-2], done - view.done
        for figure, stage in STAGES.items():
            grown = [each.total(f"{PREFIX}stage_seconds_total", stage=stage) or 0.0 for each in (before, now)]
            row[figure] = (grown[1] - grown[0]) / updates
        row["seconds_total"] = sum(row[figure] or 0.0 for figure in STAGES)
    if done > view.done or not view.rows:
        view.rows.append(row)
    view.done = done
    view.planned = int(now.total(f"{PREFIX}planned_updates") or 0)
    view.kind = next((kind for kind in now.by("kind", f"{PREFIX}info") if kind), "")
    view.finished = bool(now.total(f"{PREFIX}finished"))
