"""What reward and judge gain for their KL, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

PANELS = (("score", "reward model's score, SD of the reference"), ("judge", "lexicon judge, -1 to 1"))
TICKS = (0, 1, 2, 5, 10, 20, 50, 100)
GROUPS = (  # the rows whose name begins so, marker, line
    ("PPO, one point a run", "kl_coef", "o", ""),
    ("best of n, reference", "best of", "s", "-"),
    ("reward's sign flipped", "sign flipped", "x", ""),
    ("reference", "reference", "D", ""),
)


def draw_curve(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Writes an SVG, with the same bytes for the same rows.

    KL on a scale of its square root, over which scores rise almost in a line (Gao et al., arXiv:2210.10760).
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stories", "font.size": 9}):
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        for axes, (key, label) in zip(figure.subplots(1, 2), PANELS, strict=True):
            for name, begin, marker, line in GROUPS:
                members = [row for row in rows if str(row["run"]).startswith(begin)]
                x, y = ([float(str(row[column])) for row in members] for column in ("kl_nats", key))
                axes.plot(x, y, marker=marker, linestyle=line, label=name, markersize=5, clip_on=False)
            axes.set_xscale("function", functions=(np.sqrt, np.square))
            axes.set_xlim(left=0)
            axes.set_xticks([tick for tick in TICKS if tick <= axes.get_xlim()[1]], minor=False)
            axes.set_xlabel("KL to the reference, nats an answer of 48 tokens")
            axes.set_ylabel(label)
            axes.grid(visible=True, axis="y", linewidth=0.4)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].legend(frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
