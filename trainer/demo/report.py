"""Writes report.html: one file, no script, nothing fetched, readable in light and dark and on a phone."""

from pathlib import Path

from markupsafe import Markup

from ..html_page import write_html
from ..progress import METRICS, read_metrics
from .plots import PPO_PANELS, REWARD_PANELS, SFT_PANELS, Panel, Series, panel_svg
from .report_page import PAGE
from .result import DemoResult, MetricLog


def write_report(result: DemoResult, path: Path) -> Path:
    """Reads the metric files, draws all curves, writes the page, and gives its path.

    Raises FileNotFoundError for a missing metrics file. A metric that no run has is left out, in silence.
    """
    sections = [
        ("PPO", _figures(PPO_PANELS, result.ppo_logs)),
        (
            "Fine-tuning and reward model",
            _figures(SFT_PANELS, (result.sft_log,)) + _figures(REWARD_PANELS, (result.reward_log,)),
        ),
    ]
    write_html(path, PAGE, result=result, sections=sections)
    return path


def _figures(panels: tuple[Panel, ...], logs: tuple[MetricLog, ...]) -> list[tuple[str, Markup]]:
    runs = [(log.name, _series(log.directory)) for log in logs]
    drawn = [(panel.title, panel_svg(panel, runs)) for panel in panels]
    return [(title, Markup(svg)) for title, svg in drawn if svg is not None]


def _series(directory: Path) -> dict[str, Series]:
    """Gathers the metrics of a run by name. A metric may be missing from an update, or null there."""
    if not (directory / METRICS).is_file():
        raise FileNotFoundError(f"{directory} holds no {METRICS}: it is no run's directory")
    series: dict[str, Series] = {}
    for line in read_metrics(directory):
        update = line.pop("update") or 0
        for name, value in line.items():
            if value is not None:
                series.setdefault(name, []).append((update, value))
    return series
