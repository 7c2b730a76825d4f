"""K = 9 against K = 4 at equal simulated seconds: held-out accuracy of the reward model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rewardplane.trainer.rounds.lexicon_ranker import simulated_seconds

from rounds_parts.learning import SimulatedPerson, heldout_accuracy, learn
from rounds_parts.seeds import told

ITEMS_9 = 200
HELD_OUT = 200
SEEDS = range(5)

Row = dict[str, object]


def measure(begin: Path, person: SimulatedPerson, items: int, directory: Path) -> list[Row]:
    """One row an arm."""
    seconds = ITEMS_9 * simulated_seconds(9)
    arms = {
        "K = 9": (9, ITEMS_9),
        "K = 4, equal seconds": (4, int(seconds / simulated_seconds(4))),
        "K = 4, equal items": (4, ITEMS_9),
    }
    found: dict[str, list[float]] = {name: [] for name in arms}
    for seed in SEEDS:
        order = np.random.default_rng([seed, 1]).permutation(items).tolist()
        heldout = person.without_noise(order[-HELD_OUT:], 9)
        for name, (k, count) in arms.items():
            assert count <= items - HELD_OUT
            model = learn(begin, person.ranked(order[:count], k, seed), directory / "model", seed)
            found[name].append(heldout_accuracy(model, heldout))
    return [
        {
            "arm": name,
            "items": count,
            "pairs": count * k * (k - 1) // 2,
            "simulated seconds": count * simulated_seconds(k),
            "held-out accuracy": told(found[name]),
            "K = 9 minus it": told([a - b for a, b in zip(found["K = 9"], found[name], strict=True)]),
            "seeds": [round(value, 4) for value in found[name]],
        }
        for name, (k, count) in arms.items()
    ]
