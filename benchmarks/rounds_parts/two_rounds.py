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
    seeds: tuple[int, ...]


VARIANTS = {
    "near": Variant(50, 0.1, QUESTIONS, True, (0, 1)),
    "far": Variant(80, 0.02, QUESTIONS, True, (0,)),
    "weak start": Variant(50, 0.1, 60, False, (0, 1)),
}

CONTROL_KL_COEF = 0.03
KEPT = "compared.json"

Row = dict[str, object]


def round_directory(directory: Path, variant: str, seed: int, number: int) -> Path:
    return directory / f"{variant}-seed{seed}" / f"round{number}"


def measure_all(base: Base, directory: Path) -> None:
    """All variants and seeds, and the controls of "far". Goes on where it was interrupted, as rounds do."""
    for name, own in VARIANTS.items():
        for seed in own.seeds:
            measure(base, directory, name, seed)
    for seed in VARIANTS["far"].seeds:
        control(base, directory, seed)


def kept_rows(directory: Path) -> tuple[list[Row], list[str]]:
    """What was measured so far, and the names of what was not."""
    firsts = {
        f"{variant}, seed {seed}": round_directory(directory, variant, seed, 1)
        for variant, own in VARIANTS.items()
        for seed in own.seeds
    }
    firsts |= {control_name(seed): control_directory(directory, seed) for seed in VARIANTS["far"].seeds}
    done = {name: first / KEPT for name, first in firsts.items() if (first / KEPT).exists()}
    rows = [row_of(name, json.loads(kept.read_text())) for name, kept in done.items()]
    return rows, [name for name in firsts if name not in done]


def control_directory(directory: Path, seed: int) -> Path:
    return round_directory(directory, "far", seed, 2).with_name("control")


def control_name(seed: int) -> str:
    return f"far, seed {seed}, first round with KL coefficient {CONTROL_KL_COEF}"


def measure(base: Base, directory: Path, variant: str, seed: int) -> None:
    own = VARIANTS[variant]
    first, second = (round_directory(directory, variant, seed, number) for number in (1, 2))
    toml = round_toml(
        base, directory / f"{variant}-seed{seed}.toml", seed=seed, questions=own.first_questions,
        updates=own.updates, kl_coef=own.kl_coef, backbone=base.reward if own.knows_ratings else base.sft,
    )  # fmt: skip
    if not (first / KEPT).exists():
        turn(first, "--config", str(toml))
        turn(second, "--parent", str(first), "--set", f"sample.questions={QUESTIONS}")
    compare(first, second)


def control(base: Base, directory: Path, seed: int) -> None:
    """The first round of "far" held nearer to the reference, against the same second round.

    Of two policies with one reward model the one that takes more updates to a KL is the better one there. This one
    takes about as many as the second round's.
    """
    second, toml = round_directory(directory, "far", seed, 2), directory / f"far-seed{seed}.toml"
    patient = control_directory(directory, seed)
    if not (patient / KEPT).exists():
        turn(patient, "--config", str(toml), "--set", f"policy.kl.coef={CONTROL_KL_COEF}")
    compare(patient, second)


def turn(place: Path, *begun: str) -> None:
    """One round, from start to policy."""
    command("start", str(place), *begun)
    command("sample", str(place))
    command("label", str(place), "--simulate")
    command("train", str(place))


def compare(first: Path, second: Path) -> None:
    kept = first / KEPT
    if not kept.exists():
        command("compare", str(first), str(second), "--equal-kl", "--answers", "8")
        kept.write_bytes((second / "comparison.json").read_bytes())


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
