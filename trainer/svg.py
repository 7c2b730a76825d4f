"""Figures as inline SVG that takes its colours from the page, so that one picture serves light and dark."""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib.figure import Figure

# matplotlib wants real colours; these stand for the page's and are exchanged after drawing.
INK, GRID = "#010203", "#010204"
SERIES = ("#010211", "#010212", "#010213", "#010214")
PAGE_COLORS = {INK: "currentColor", GRID: "var(--grid)"} | {
    color: f"var(--series-{i})" for i, color in enumerate(SERIES, start=1)
}
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


def page_svg(figure: Figure, title: str) -> str:
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
