"""Two rounds with the simulated ranker, by the commands that people use, and their comparison at equal KL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rounds_parts.base import Base, round_toml

QUESTIONS = 500
VARIANTS = {"near": (50, 0.1), "far": (80, 0.02)}
"""PPO updates and KL coefficient: as in the demo, and so that the first policy leaves its reward model behind."""

Row = dict[str, object]


def round_directory(directory: Path, variant: str, seed: int, number: int) -> Path:
    return directory / f"{variant}-seed{seed}" / f"round{number}"


def measure(base: Base, directory: Path, variant: str, seed: int) -> Row:
    """Goes on where it was interrupted, as rounds do."""
    first, second = (round_directory(directory, variant, seed, number) for number in (1, 2))
    updates, kl_coef = VARIANTS[variant]
    toml = directory / f"{variant}-seed{seed}.toml"
    round_toml(base, toml, seed=seed, questions=QUESTIONS, updates=updates, kl_coef=kl_coef)
    if (second / "comparison.json").exists():
        return row_of(f"{variant}, seed {seed}", json.loads((second / "comparison.json").read_text()))
    for place, begun in ((first, ["--config", str(toml)]), (second, ["--parent", str(first)])):
        command("start", str(place), *begun)
        command("sample", str(place))
        command("label", str(place), "--simulate")
        command("train", str(place))
    command("compare", str(first), str(second), "--equal-kl", "--answers", "8")
    return row_of(f"{variant}, seed {seed}", json.loads((second / "comparison.json").read_text()))


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "rewardplane", "round", *arguments], check=True)


def row_of(name: str, found: dict[str, dict[str, dict[str, float]]]) -> Row:
    first, second, accuracy = found["first"], found["second"], found["reward_accuracy"]
    return {
        "name": name,
        "win rate of policy 2": interval(found["win_rate"]),
        "KL of policy 1, nats": interval(first["kl_nats"]),
        "KL of policy 2, nats": interval(second["kl_nats"]),
        "lexicon of policy 1": interval(first["judge"]),
        "lexicon of policy 2": interval(second["judge"]),
        "distinct bigrams, 1 and 2": f"{first['distinct_bigrams_ratio']:.2f}, {second['distinct_bigrams_ratio']:.2f}",
        "updates, 1 and 2": f"{first['updates']}, {second['updates']}",
        "RM 1 on rankings 1": interval(accuracy["held-out rankings 1"]["RM 1"]),
        "RM 1 on rankings 2": interval(accuracy["held-out rankings 2"]["RM 1"]),
        "RM 2 on rankings 2": interval(accuracy["held-out rankings 2"]["RM 2"]),
    }


def interval(one: object) -> str:
    assert isinstance(one, dict)
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
