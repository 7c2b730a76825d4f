"""Two rounds with the simulated ranker, by the commands that people use, and their comparison at equal KL."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rounds_parts.base import Base, round_toml

QUESTIONS = 500


@dataclass(frozen=True)
class Variant:
    """What the first round is like; the second has QUESTIONS items in any case."""

    updates: int
    kl_coef: float
    first_questions: int
    knows_ratings: bool
    """Whether the first reward model begins with that of people's ratings, else with the language model."""


VARIANTS = {
    "near": Variant(50, 0.1, QUESTIONS, True),
    "far": Variant(80, 0.02, QUESTIONS, True),
    "weak start": Variant(50, 0.1, 60, False),
}

Row = dict[str, object]


def round_directory(directory: Path, variant: str, seed: int, number: int) -> Path:
    return directory / f"{variant}-seed{seed}" / f"round{number}"


def measure(base: Base, directory: Path, variant: str, seed: int) -> Row:
    """Goes on where it was interrupted, as rounds do."""
    first, second = (round_directory(directory, variant, seed, number) for number in (1, 2))
    own = VARIANTS[variant]
    toml = round_toml(
        base, directory / f"{variant}-seed{seed}.toml", seed=seed, questions=own.first_questions,
        updates=own.updates, kl_coef=own.kl_coef, backbone=base.reward if own.knows_ratings else base.sft,
    )  # fmt: skip
    if (second / "comparison.json").exists():
        return row_of(f"{variant}, seed {seed}", json.loads((second / "comparison.json").read_text()))
    for place, begun in (
        (first, ["--config", str(toml)]),
        (second, ["--parent", str(first), "--set", f"sample.questions={QUESTIONS}"]),
    ):
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
