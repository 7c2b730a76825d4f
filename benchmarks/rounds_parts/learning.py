"""Reward models from simulated rankings of sampled answers, and how well they order held-out ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rewardplane.trainer.data import RankedAnswers
from rewardplane.trainer.demo.prepare import write_jsonl
from rewardplane.trainer.evaluation.pairs import pair_table
from rewardplane.trainer.evaluation.scoring import score_with_model
from rewardplane.trainer.labelling.items import Item
from rewardplane.trainer.optim import OptimizerConfig
from rewardplane.trainer.reward.config import BackboneConfig, RankedData, RewardConfig
from rewardplane.trainer.reward.train import run_reward
from rewardplane.trainer.rounds.lexicon_ranker import lexicon_scores, noisy_ranks


class SimulatedPerson:
    """Ranks as the simulated ranker does, one order for each item and seed."""

    def __init__(self, items: Sequence[Item], noise: float) -> None:
        self._items = items
        self._noise = noise
        self._scores = [lexicon_scores(item.question, item.answers) for item in items]

    def ranked(self, places: Sequence[int], k: int, seed: int) -> list[RankedAnswers]:
        """The first k answers of the items, with noise."""
        return [
            self._row(place, noisy_ranks(self._scores[place][:k], self._noise, np.random.default_rng([seed, place, k])))
            for place in places
        ]

    def without_noise(self, places: Sequence[int], k: int) -> list[RankedAnswers]:
        """In the lexicon's own order."""
        return [
            self._row(place, noisy_ranks(self._scores[place][:k], 0.0, np.random.default_rng(0))) for place in places
        ]

    def _row(self, place: int, ranks: Sequence[int | None]) -> RankedAnswers:
        item = self._items[place]
        return RankedAnswers(item.question, item.answers[: len(ranks)], tuple(ranks))


def learn(begin: Path, rows: Sequence[RankedAnswers], directory: Path, seed: int) -> Path:
    """A reward model that goes on from another; of the learning rates 1e-4, 3e-4 and 1e-3 the best on another split."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    train = write_jsonl(
        directory / "train.jsonl",
        [{"question": row.question, "answers": list(row.answers), "ranks": list(row.ranks)} for row in rows],
    )
    config = RewardConfig(
        output=directory / "run",
        model=BackboneConfig(path=begin),
        data=RankedData(train=train),
        optimizer=OptimizerConfig(learning_rate=3e-4, warmup_updates=5),
        epochs=3,
        batch_questions=8,
        save_every=0,
        seed=seed,
    )
    return run_reward(config).checkpoint


def heldout_accuracy(model: Path, rows: Sequence[RankedAnswers]) -> float:
    scored = score_with_model(model, [replace(row) for row in rows], iter)
    found = pair_table(scored.rows, scored.scores).accuracy()
    assert found is not None
    return found.value
