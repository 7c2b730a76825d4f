"""Curves as inline SVG that takes its colours from the page, so that one picture serves light and dark."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Series = list[tuple[float, float]]  # (update, value), updates rising

# matplotlib wants real colours; these stand for the page's and are exchanged after drawing.
INK, GRID = "#010203", "#010204"
SERIES = ("#010211", "#010212", "#010213", "#010214")
PAGE_COLORS = {INK: "currentColor", GRID: "var(--grid)"} | {
    color: f"var(--series-{i})" for i, color in enumerate(SERIES, start=1)
}
LINE_STYLES = ("-", "--", "-.", ":")  # series differ in dash too, for eyes and printers without colour
STYLE: dict[Any, object] = {  # Any: matplotlib's stubs list every setting by name
    "svg.fonttype": "none",  # text stays text: sharp, searchable, small
    "text.parse_math": False,
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.grid.axis": "y", "grid.linewidth": 0.6, "axes.linewidth": 0.6, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": GRID,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.5,
    "legend.frameon": False, "legend.fontsize": 8.5, "legend.columnspacing": 1.0, "legend.handlelength": 1.7,
    "legend.borderpad": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str  # the label of the y axis
    keys: tuple[tuple[str, str], ...]  # (metric, name in the legend); one key: the legend names the runs


def _panel(key: str, title: str, unit: str) -> Panel:
    return Panel(title, unit, ((key, title),))


PPO_PANELS = (
    _panel("score", "Score of the reward model", "mean score (reference: 0)"),
    _panel("reward", "Reward after the KL penalty", "mean sum over an answer"),
    _panel("kl_nats", "KL to the reference", "nats per answer"),
    _panel("judge", "Lexicon judge", "mean compound, −1 to 1"),
    _panel("eval_score", "Score, held-out questions", "mean score (reference: 0)"),
    _panel("eval_kl_nats", "KL, held-out questions", "nats per answer"),
    _panel("eval_judge", "Lexicon judge, held-out questions", "mean compound, −1 to 1"),
    _panel("eval_distinct_bigrams_ratio", "Distinct bigrams, held-out questions", "share, 0 to 1"),
    _panel("entropy", "Entropy of the policy", "nats per token"),
    _panel("answer_tokens", "Length of answers", "tokens"),
    _panel("ended_ratio", "Answers that end with EOS", "share, 0 to 1"),
    _panel("policy_loss", "Policy loss", "clipped objective"),
    _panel("value_loss", "Value loss", "half squared error"),
    _panel("explained_variance", "Variance explained by the values", "share, at most 1"),
    _panel("ptx_loss", "Pretraining (PTX) loss", "nats per token"),
    _panel("clip_ratio", "Tokens with a clipped ratio", "share, 0 to 1"),
    _panel("ratio_max", "Largest probability ratio", "π new / π old"),
    _panel("kl_coef", "KL coefficient", "score per nat"),
    Panel(
        "Time of an update", "seconds",
        (("seconds_sample", "sampling"), ("seconds_measure", "measuring"), ("seconds_judge", "judging"),
         ("seconds_update", "updating")),
    ),
)  # fmt: skip
LOSSES = (("loss", "training"), ("heldout_loss", "held out"))
ACCURACIES = (("accuracy", "training"), ("heldout_accuracy", "held out"))
SFT_PANELS = (Panel("Language model loss", "nats per token", LOSSES),)
REWARD_PANELS = (
    Panel("Ranking loss", "nats per pair", LOSSES),
    Panel("Pairs in people's order", "share, 0.5 is chance", ACCURACIES),
)


def panel_svg(panel: Panel, runs: Sequence[tuple[str, Mapping[str, Series]]]) -> str | None:
    """Draws one panel and gives an <svg> element, or None if no run has any of its metrics.

    A panel of several keys shows them for the first run that has any; a panel of one key lays the runs over
    each other. Every line is a group with the id "key:run".
    """
    if len(panel.keys) > 1:
        runs = [run for run in runs if any(key in run[1] for key, _ in panel.keys)][:1]
    lines = [
        (key, run, label if len(panel.keys) > 1 else run, series[key])
        for run, series in runs
        for key, label in panel.keys
        if key in series
    ]
    if not lines:
        return None
    # The salt keeps ids of clip paths and markers apart, since all pictures share one page.
    with mpl.rc_context(STYLE | {"svg.hashsalt": panel.title}):
        figure = Figure(figsize=(4.4, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for i, (key, run, label, points) in enumerate(lines):
            [line] = axes.plot(*zip(*points, strict=True), label=label, gid=f"{key}:{run}")
            line.set(color=SERIES[i % len(SERIES)], linestyle=LINE_STYLES[i % len(LINE_STYLES)])
            line.set_marker("o" if len(points) == 1 else "")
        axes.set_xlabel("update")
        axes.set_ylabel(panel.unit)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        low, high = axes.get_ylim()
        if (values := {value for *_, points in lines for _, value in points}) and len(values) == 1:
            axes.set_ylim(min(low, 0.0), max(high, 0.0))  # a constant: its size matters, not its last digits
        if len(lines) > 1:
            axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
        return _for_the_page(figure, panel.title)


def _for_the_page(figure: Figure, title: str) -> str:
    """Renders the figure without fixed colours, size, background or anything a page does not need."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]  # the XML prologue and DTD are for files, not for HTML
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None  # matplotlib always writes one
    svg = f'<svg {view_box[0]} role="img" aria-label="{title}">' + svg[svg.index(">") + 1 :]
    for color, page_color in PAGE_COLORS.items():
        svg = svg.replace(color, page_color)
    return svg
