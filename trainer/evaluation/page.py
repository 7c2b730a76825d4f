"""Writes evaluation.html: one file, no script, nothing fetched, readable in light and dark and on a phone."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from ..html_page import write_html
from .figures import draw
from .report import RewardReport
from .tables import breakdowns, headline

PAGE = """\
<title>Reward model: {{ report.model_name | printable }}</title>
<style>
{{ style }}
td.told { text-align: left; color: var(--soft); white-space: normal; }
@media (max-width: 40rem) {
  table { font-size: .75rem; }
  th, td { padding-right: .3rem; }
  th:first-child, td:first-child { min-width: 0; }
  thead th { font-size: .6875rem; }
}
</style>
</head>
<body>
<main>
<h1>Reward model: {{ report.model_name | printable }}</h1>
<p>It puts {{ "%.1f" | format(100 * report.accuracy.value) }} % of {{ "{:,}".format(report.accuracy.count) }} pairs in
people's order (95 % interval {{ "%.1f" | format(100 * report.accuracy.low) }} to
{{ "%.1f" | format(100 * report.accuracy.high) }} %). Length alone gets
{{ "%.1f" | format(100 * report.length_baseline.value) }} %, chance 50 %.</p>
{% for table in tables %}
<h2>{{ table.title }}</h2>
<div class="wide"><table>
<thead><tr>{% for name in table.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td{% if not table.columns[loop.index0] and not loop.first %} class="told"{% endif %}>
{{- cell | printable }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% if table.note %}
<p class="note">{{ table.note }}</p>
{% endif %}
{% if loop.first %}
<h2>Pictures</h2>
<div class="grid">
{% for title, svg in figures %}
<figure><figcaption>{{ title }}</figcaption>{{ svg }}</figure>
{% endfor %}
</div>
<p class="note">Bars are 95 % intervals from resampled questions. Calibration: larger points hold more pairs; a point
below the line is a model that is too sure of itself.</p>
{% endif %}
{% endfor %}
<h2>What was measured</h2>
<div class="wide"><table class="names"><tbody>
<tr><td>files</td><td class="text">{{ report.files | join("\n") | printable }}</td></tr>
<tr><td>scored by</td><td class="text">{{ report.scored_by | printable }}</td></tr>
<tr><td>checkpoint</td><td class="text">{{ report.checkpoint_digest }}</td></tr>
<tr><td>scores</td><td>mean {{ "%.3f" | format(report.mean_score) }}, standard deviation
{{ "%.3f" | format(report.score_std) }}</td></tr>
</tbody></table></div>
</main>
</body>
</html>
"""


def write_page(report: RewardReport, path: Path) -> None:
    write_html(
        path,
        PAGE,
        report=report,
        tables=[headline(report), *breakdowns(report)],
        figures=[(title, Markup(svg)) for title, svg in draw(report)],
    )
