"""What the pages that trainers write look like: no script, nothing fetched, light and dark, wide and narrow."""

STYLE = """\
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
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
@media (max-width: 40rem) {
  table { font-size: .8rem; }
  th, td { padding-right: .4rem; }
  th:first-child, td:first-child { min-width: 4.75rem; }
  thead th { font-size: .75rem; }
}
"""
