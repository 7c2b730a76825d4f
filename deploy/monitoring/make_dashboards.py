"""Writes Grafana's dashboards: `python deploy/monitoring/make_dashboards.py`. Change these files, never the JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fleet import FLEET
from grafana import to_json
from ppo_run import PPO_RUN
from scoring_service import SCORING_SERVICE

FILES = {"scoring-service.json": SCORING_SERVICE, "ppo-run.json": PPO_RUN, "fleet.json": FLEET}
DIRECTORY = Path(__file__).parents[1] / "components" / "monitoring" / "dashboards"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where to write; default: %(default)s")
    directory = parser.parse_args().directory
    directory.mkdir(parents=True, exist_ok=True)
    for name, dashboard in FILES.items():
        (directory / name).write_text(json.dumps(to_json(dashboard), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
