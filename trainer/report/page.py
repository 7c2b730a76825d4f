"""The page of report.html, a Jinja template; Python, so that every way of installing brings it along."""

PAGE = """\
<title>{{ report.title }}</title>
<style>
{{ style }}
.sample { background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; margin-bottom: .75rem; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.sides { gap: .5rem 1.5rem; }
.question { color: var(--soft); }
pre { overflow-x: auto; background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; }
pre { font-size: .8125rem; }
summary { cursor: pointer; }
</style>
</head>
<body>
<main>
<h1>{{ report.title }}</h1>
<p>{{ report.summary }}</p>
{% for table in report.tables %}
<h2>{{ table.title }}</h2>
<div class="wide"><table>
<thead><tr>{% for name in table.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% if table.note %}
<p class="note">{{ table.note }}</p>
{% endif %}
{% endfor %}
{% macro answer(label, question, judged) %}
<div>
<div class="label">{{ label }} · {{ report.judge }} {{ "%+.2f" | format(judged.points) }}</div>
<p class="text" dir="auto"><span class="question">{{ question | printable }}</span>
{%- if judged.text %}{{ judged.text | printable }}{% else %} <em>(no words)</em>{% endif %}</p>
</div>
{% endmacro %}
{% if report.samples %}
<h2>Answers to held-out questions</h2>
{% for sample in report.samples %}
<div class="sample"><div class="sides">
{{ answer(report.sides[0], sample.question, sample.before) }}
{% if sample.after %}
{{ answer(report.sides[1], sample.question, sample.after) }}
{% endif %}
</div></div>
{% endfor %}
{% endif %}
{% for name, figures in sections if figures %}
<h2>{{ name }}</h2>
<div class="grid">
{% for title, svg in figures %}
<figure><figcaption>{{ title }}</figcaption>{{ svg }}</figure>
{% endfor %}
</div>
{% endfor %}
<h2>Configuration and versions</h2>
{% for name, settings in report.configuration %}
<details><summary>{{ name }}</summary><pre>{{ settings | printable }}</pre></details>
{% endfor %}
<div class="wide"><table class="names">
<tbody>
{% for name, value in report.versions %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</tbody>
</table></div>
</main>
</body>
</html>
"""
