"""Curves as inline SVG that takes its colours from the page, so that one picture serves light and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..svg import SERIES, STYLE, page_svg

Series = list[tuple[float, float]]  # (update, value), updates rising

LINE_STYLES = ("-", "--", "-.", ":")  # series differ in dash too, for eyes and printers without colour


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
        return page_svg(figure, panel.title)
