"""Makes a report of what runs left in their directories."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..config import ConfigError
from ..metric_lines import METRICS, read_metrics, whole_lines
from ..run_record import Kind, RunRecord, read_record
from .contents import Curves, Judged, MetricLog, Report, ResultTable, Sample
from .panels import PANELS

SAMPLES = "samples.jsonl"
TITLES = {"sft": "Fine-tuning", "reward": "Reward model", "ppo": "PPO"}
HEADLINES = {
    "sft": ("loss", "heldout_loss"),
    "reward": ("loss", "accuracy", "heldout_accuracy"),
    "ppo": (
        "score", "reward", "kl_nats", "entropy", "answer_tokens", "ended_ratio", "explained_variance",
        "eval_score", "eval_kl_nats", "eval_judge", "eval_distinct_bigrams_ratio",
    ),
}  # fmt: skip
STAGE = "seconds_"

Rows = Sequence[dict[str, float | None]]


def report_of(directories: Sequence[Path]) -> Report:
    """Of the first directory; the curves of the others lie over its own. Raises ConfigError."""
    for directory in directories:
        if not (directory / METRICS).is_file():
            raise ConfigError(f"{directory} holds no {METRICS}: it is no run's directory")
    first, rows = directories[0], read_metrics(directories[0])
    record = read_record(first)
    kind = record.kind if record else _kind_of(rows)
    logs = tuple(MetricLog(name, directory) for name, directory in zip(_names(directories), directories, strict=True))
    return Report(
        title=f"{TITLES[kind]}: {_names(directories)[0]}",
        summary=_summary(rows, record, directories),
        tables=tuple(table for table in (_headline(rows, kind), _times(rows)) if table.rows),
        sections=(("Curves", (Curves(PANELS[kind], logs),)),),
        samples=tuple(_samples(first / SAMPLES)),
        judge="score",
        sides=_sides(first / SAMPLES),
        configuration=_configuration(record),
        versions=tuple(record.versions.items()) if record else (),
    )


def _kind_of(rows: Rows) -> Kind:
    """Of a directory that does not say it: by what was measured."""
    names = {name for row in rows for name in row}
    if "kl_nats" in names or "eval_kl_nats" in names:
        return "ppo"
    return "reward" if "accuracy" in names else "sft"


def _names(directories: Sequence[Path]) -> list[str]:
    """As short as tells them apart."""
    resolved = [directory.resolve() for directory in directories]
    names = [path.name for path in resolved]
    return names if len(set(names)) == len(names) else [str(path) for path in directories]


def _updates(rows: Rows) -> int:
    return sum("seconds_update" in row or "loss" in row or "kl_nats" in row for row in rows)


def _summary(rows: Rows, record: RunRecord | None, directories: Sequence[Path]) -> str:
    done = _updates(rows)
    planned = f" of {record.updates:,}" if record else ""
    beside = f", beside {', '.join(_names(directories)[1:])}" if len(directories) > 1 else ""
    return f"{done:,}{planned} updates{beside}."


def _headline(rows: Rows, kind: str) -> ResultTable:
    found = []
    for name in HEADLINES[kind]:
        values = [value for row in rows if (value := row.get(name)) is not None]
        if values:
            shown = (f"{value:,.3g}" for value in (values[0], values[-1], min(values), max(values)))
            found.append((_title(name, kind), *shown))
    return ResultTable("From first to last", ("figure", "first", "last", "lowest", "highest"), tuple(found))


def _title(name: str, kind: str) -> str:
    """What the curve of a figure is called."""
    for panel in PANELS[kind]:
        for key, label in panel.keys:
            if key == name:
                return panel.title if len(panel.keys) == 1 else f"{panel.title}, {label}"
    return name


def _times(rows: Rows) -> ResultTable:
    """Wall time by stage; `seconds_total` is the sum of the others, evaluations apart."""
    stages = dict.fromkeys(name for row in rows for name in row if name.startswith(STAGE) and name != "seconds_total")
    seconds = {name.removeprefix(STAGE): sum(row.get(name) or 0.0 for row in rows) for name in stages}
    total, updates = sum(seconds.values()), max(_updates(rows), 1)
    cells = tuple(
        (stage, f"{spent:,.1f}", f"{100 * spent / total:.0f} %", f"{spent / updates:,.3f}")
        for stage, spent in seconds.items()
        if total
    )
    return ResultTable("Where the time went", ("stage", "seconds", "share", "seconds an update"), cells)


def _evaluations(path: Path) -> list[tuple[int, Rows]]:
    """The first and the last, by update; only one where there is one."""
    by_update: dict[int, list[dict[str, float | None]]] = {}
    for line in whole_lines(path):
        by_update.setdefault(int(line["update"] or 0), []).append(line)
    return [(update, by_update[update]) for update in sorted({min(by_update), max(by_update)})] if by_update else []


def _sides(path: Path) -> tuple[str, str]:
    updates = [update for update, _ in _evaluations(path)] or [0]
    return f"update {updates[0]}", f"update {updates[-1]}"


def _samples(path: Path) -> list[Sample]:
    """Evaluations ask the same questions in the same order, so answers are paired by their place."""
    evaluations = [lines for _, lines in _evaluations(path)]
    if not evaluations:
        return []
    before, after = evaluations[0], evaluations[1] if len(evaluations) > 1 else []
    answers = [*map(_judged, after), *[None] * len(before)]
    return [Sample(str(line["question"]), _judged(line), answer) for line, answer in zip(before, answers, strict=False)]


def _judged(line: dict[str, float | None]) -> Judged:
    return Judged(str(line["answer"]), float(line["score"] or 0.0))


def _configuration(record: RunRecord | None) -> tuple[tuple[str, str], ...]:
    return ((record.kind, json.dumps(record.configuration, indent=1, ensure_ascii=False)),) if record else ()
