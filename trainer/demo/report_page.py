"""The page of report.html, a Jinja template; Python, so that every way of installing brings it along."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ result.title }}</title>
<style>
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1a1d21; --soft: #5a6370; --grid: #d9dde3;
  --series-1: #0b5cad; --series-2: #c2410c; --series-3: #177245; --series-4: #7c3aed;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1d2127; --ink: #e7eaee; --soft: #a3adba; --grid: #39404a;
    --series-1: #6cb2ff; --series-2: #ff9d5c; --series-3: #5fd39a; --series-4: #c4a5ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p { max-width: 46rem; margin: .4rem 0; }
.note, figcaption, .label { color: var(--soft); font-size: .875rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem 1.2rem .35rem 0; border-bottom: 1px solid var(--grid); }
th, td { text-align: right; vertical-align: top; }
td { white-space: nowrap; }
th:last-child, td:last-child { padding-right: 0; }
th:first-child, td:first-child { text-align: left; min-width: 8rem; white-space: normal; }
thead th { font-weight: 600; color: var(--soft); font-size: .875rem; vertical-align: bottom; }
table.names td { text-align: left; white-space: normal; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; background: var(--panel); border-radius: .5rem; min-width: 0; }
figcaption { color: var(--ink); font-weight: 600; margin-bottom: .25rem; }
figure svg { display: block; width: 100%; height: auto; }
figure svg text { font-family: inherit !important; }
.sample { background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; margin-bottom: .75rem; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.sides { gap: .5rem 1.5rem; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.question { color: var(--soft); }
pre { overflow-x: auto; background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; }
pre { font-size: .8125rem; }
summary { cursor: pointer; }
@media (max-width: 40rem) {
  table { font-size: .8rem; }
  th, td { padding-right: .4rem; }
  th:first-child, td:first-child { min-width: 4.75rem; }
  thead th { font-size: .75rem; }
}
</style>
</head>
<body>
<main>
<h1>{{ result.title }}</h1>
<p>{{ result.summary }}</p>
{% for table in result.tables %}
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
{% macro answer(label, compound, question, text) %}
<div>
<div class="label">{{ label }} · lexicon {{ "%+.2f" | format(compound) }}</div>
<p class="text" dir="auto"><span class="question">{{ question | printable }}</span>
{%- if text %}{{ text | printable }}{% else %} <em>(no words)</em>{% endif %}</p>
</div>
{% endmacro %}
{% if result.samples %}
<h2>Answers to held-out questions</h2>
{% for sample in result.samples %}
<div class="sample"><div class="sides">
{{ answer("before PPO", sample.compound_before, sample.question, sample.before) }}
{{ answer("after PPO", sample.compound_after, sample.question, sample.after) }}
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
{% for name, settings in result.configuration %}
<details><summary>{{ name }}</summary><pre>{{ settings | printable }}</pre></details>
{% endfor %}
<div class="wide"><table class="names">
<tbody>
{% for name, value in result.versions %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</tbody>
</table></div>
</main>
</body>
</html>
"""
