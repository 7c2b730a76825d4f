"""The lineage of a round as a page: one file, no script, nothing fetched, light and dark."""

from __future__ import annotations

from pathlib import Path

from ..html_page import write_html
from .lineage import next_step, nodes
from .place import Round

PAGE = """\
<title>Round {{ number }}</title>
<style>
{{ style }}
ol { list-style: none; margin: 1.5rem 0; padding: 0; max-width: 46rem; }
li { position: relative; padding: .7rem 1rem; margin-bottom: 2rem; background: var(--panel); border-radius: .5rem; }
li { border-left: .3rem solid var(--series-1); }
li.rankings { border-left-color: var(--series-3); margin-left: 2rem; }
li.missing { border: 1px dashed var(--soft); background: none; }
li:not(:last-child)::after { content: "↓"; position: absolute; left: 1.2rem; bottom: -1.75rem; color: var(--soft); }
li.rankings::after { left: -.8rem !important; }
li h2 { font-size: 1rem; margin: 0; display: flex; flex-wrap: wrap; gap: 0 .75rem; }
li p { font-size: .875rem; margin: .15rem 0 0; }
code { font-size: .8125rem; overflow-wrap: anywhere; }
h2 code { font-weight: 400; color: var(--soft); }
</style>
</head>
<body>
<main>
<h1>Round {{ number }}</h1>
<p class="note">{{ place | printable }}</p>
<ol>
{% for node in nodes %}
<li class="{{ node.kind }}"><h2>{{ node.name }} <code>{{ node.digest[:12] or "not yet" }}</code></h2>
{% for fact in node.facts %}
<p>{{ fact | printable }}</p>
{% endfor %}
</li>
{% endfor %}
</ol>
<p>Next: <code>{{ next | printable }}</code></p>
</main>
</body>
</html>
"""


def write_page(made: Round, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(path, PAGE, number=made.record.number, place=made.place, nodes=nodes(made), next=next_step(made))
