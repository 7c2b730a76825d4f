"""Which questions to ask next: by margin or by disagreement of bootstrap heads, against random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rewardplane.trainer.data import RankedAnswers
from rewardplane.trainer.evaluation.scoring import score_with_model
from rewardplane.trainer.rounds.choice import by_disagreement, by_margin
from rewardplane.trainer.rounds.heads import head_scores

from rounds_parts.learning import SimulatedPerson, heldout_accuracy, learn
from rounds_parts.seeds import told

K = 4
FIRST, POOL, ASKED, HELD_OUT = 80, 280, 80, 140
HEADS = 8
SEEDS = range(5)

Row = dict[str, object]


def measure(begin: Path, person: SimulatedPerson, items: int, directory: Path) -> list[Row]:
    """One row a choice, and "before": the model that chose."""
    assert items >= FIRST + POOL + HELD_OUT
    found: dict[str, list[float]] = {"before": [], "random": [], "margin": [], "disagreement": []}
    for seed in SEEDS:
        order = np.random.default_rng([seed, 2]).permutation(items).tolist()
        first, pool, heldout = order[:FIRST], order[FIRST : FIRST + POOL], order[-HELD_OUT:]
        truth, known = person.without_noise(heldout, 9), person.ranked(first, K, seed)
        before = learn(begin, known, directory / "before", seed)
        found["before"].append(heldout_accuracy(before, truth))
        asked = [unranked(row) for row in person.ranked(pool, K, seed)]
        places = {
            "random": range(POOL),
            "margin": by_margin(score_with_model(before, asked, iter).scores),
            "disagreement": by_disagreement(head_scores(before, known, asked, HEADS, seed)),
        }
        for name, chosen in places.items():
            new = person.ranked([pool[i] for i in chosen[:ASKED]], K, seed)
            found[name].append(heldout_accuracy(learn(begin, known + new, directory / "after", seed), truth))
    return [
        {
            "choice": name,
            "items": FIRST if name == "before" else FIRST + ASKED,
            "held-out accuracy": told(values),
            "minus random": told([a - b for a, b in zip(values, found["random"], strict=True)]),
            "seeds": [round(value, 4) for value in values],
        }
        for name, values in found.items()
    ]


def unranked(row: RankedAnswers) -> RankedAnswers:
    return RankedAnswers(row.question, row.answers, (None,) * len(row.answers))
