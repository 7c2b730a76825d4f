"""The demo on three seeds, with its controls: does the reward move the judge, and only the reward?

python benchmarks/demo.py [--seeds 0 1 2] [--updates 50]; about 15 minutes a seed on two cores.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, as the command line does

from result_file import Bar, write_results
from rewardplane.trainer.demo.loop import DemoOptions, Loop
from rewardplane.trainer.demo.vader_sdist import cache_directory
from rich.console import Console


def run_seed(seed: int, updates: int, directory: Path) -> dict[str, float]:
    options = DemoOptions(
        directory=directory / f"seed{seed}-{int(time.time())}",
        cache=cache_directory(os.environ),
        model=None,
        updates=updates,
        seed=seed,
        control=True,
    )
    loop = Loop(options, Console())
    loop.run()
    return {"seed": seed, **loop.figures, "seconds": sum(seconds for _, seconds in loop.seconds)}


def bars_of(rows: list[dict[str, float]]) -> list[Bar]:
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--directory", type=Path, default=Path("runs/benchmark-demo"))
    options = parser.parse_args()
    rows = [run_seed(seed, options.updates, options.directory) for seed in options.seeds]
    command = f"python benchmarks/demo.py --seeds {' '.join(map(str, options.seeds))} --updates {options.updates}"
    path = write_results("demo", command, rows, bars_of(rows))
    print(path.with_suffix(".md").read_text())


if __name__ == "__main__":
    main()
