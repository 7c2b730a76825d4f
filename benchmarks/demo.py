"""The demo on three seeds, with its controls: does the reward move the judge, and only the reward?

python benchmarks/demo.py [--seeds 0 1 2] [--updates 50]; about 12 minutes a seed on two cores.
Demos that ran already (`rewardplane demo --control --seed N`) are taken in with --finished DIRECTORY.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from result_file import Bar, write_results

Row = dict[str, float]


def run_seed(seed: int, updates: int, directory: Path) -> Row:
    command = [sys.executable, "-m", "rewardplane", "demo", "--control", "--force"]
    options = ["--seed", str(seed), "--updates", str(updates), "--directory", str(directory)]
    subprocess.run([*command, *options], check=True)
    return read_figures(directory)


def read_figures(directory: Path) -> Row:
    figures: Row = json.loads((directory / "figures.json").read_text())
    return {"seed": figures.pop("seed"), **figures}


def bars_of(rows: list[Row]) -> list[Bar]:
    bars = []
    for row in rows:
        seed = f"seed {row['seed']:.0f}"
        bars += [
            Bar(f"{seed}: judge's rise", row["after_judge"] - row["before_judge"], "at least 0.2"),
            Bar(f"{seed}: KL, nats an answer", row["after_kl_nats"], "at most 15"),
            Bar(f"{seed}: distinct bigrams", row["after_distinct_bigrams_ratio"], "at least 0.3"),
            Bar(f"{seed}: control's rise", row["control_judge"] - row["before_judge"], "at most 0"),
            Bar(f"{seed}: reward model on held-out film texts", row["reward_accuracy"], "at least 0.7"),
            Bar(f"{seed}: distance of shuffled labels from 0.5", abs(row["shuffled_accuracy"] - 0.5), "at most 0.04"),
        ]
    return bars


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmark-demo"))
    parser.add_argument("--finished", type=Path, nargs="*", default=[], help="demo directories that are done")
    parser.add_argument("--note", default="", help="joins the results")
    options = parser.parse_args()
    rows = [read_figures(directory) for directory in options.finished]
    rows += [run_seed(seed, options.updates, options.directory / f"seed{seed}") for seed in options.seeds]
    rows.sort(key=lambda row: row["seed"])
    path = write_results(
        "demo", f"rewardplane demo --control --seed N --updates {options.updates}", rows, bars_of(rows), options.note
    )
    print(path.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
