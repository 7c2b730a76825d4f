"""Dashboards are what the script makes, and ask for nothing that is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from dashboards import DASHBOARDS, dashboards, queries
from rules import COMPONENT, promtool

SCRIPT = COMPONENT.parents[1] / "monitoring" / "make_dashboards.py"


def test_they_are_what_the_script_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-B", str(SCRIPT), "--directory", str(tmp_path)], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in DASHBOARDS.iterdir()}


def test_the_config_map_has_all_of_them() -> None:
    kustomization = yaml.safe_load((COMPONENT / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    assert sorted(generator["files"]) == [f"dashboards/{name}" for name in sorted(dashboards())]
    assert generator["options"]["labels"] == {"grafana_dashboard": "1"}


def test_every_query_parses(tmp_path: Path) -> None:
    """As recording rules, which Prometheus parses one by one."""
    all_queries = [query for panel in queries().values() for query in panel]
    assert len(all_queries) > 60
    recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(all_queries)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    promtool("check", "rules", "--lint=none", "queries.yaml", cwd=tmp_path)


def test_panels_lie_beside_each_other_within_the_width() -> None:
    for dashboard in dashboards().values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            at = panel["gridPos"]
            cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
            assert not taken & cells, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
