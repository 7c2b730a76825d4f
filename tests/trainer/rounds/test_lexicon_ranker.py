"""The simulated ranker is as sure as one person, and says that it is none."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
from rewardplane.trainer.labelling.items import Item
from rewardplane.trainer.labelling.store import LabelStore
from rewardplane.trainer.rounds.label import label_round
from rewardplane.trainer.rounds.lexicon_ranker import (
    expected_agreement,
    fit_noise,
    lexicon_scores,
    noisy_ranks,
    rank_all,
    simulated_seconds,
)
from rewardplane.trainer.rounds.place import Round

SCORES = [np.array(own) for own in ([0.0, 0.5, 0.6], [-0.8, 0.1, 0.1, 0.9], [-0.3, 0.0])]


def agreement_by_drawing(noise: float, draws: int = 4000) -> float:
    """Share of pairs in the lexicon's order, counted."""
    rng = np.random.default_rng(1)
    right = pairs = 0
    for _ in range(draws):
        for own in SCORES:
            ranks = noisy_ranks(own, noise, rng)
            for i, j in combinations(range(len(own)), 2):
                if own[i] != own[j]:
                    pairs += 1
                    right += (ranks[i] < ranks[j]) == (own[i] > own[j])
    return right / pairs


def test_the_fitted_ranker_agrees_as_one_person_does() -> None:
    noise = fit_noise(SCORES)
    assert expected_agreement(SCORES, noise) == pytest.approx(0.84, abs=1e-6)
    assert agreement_by_drawing(noise) == pytest.approx(0.84, abs=0.01)
    # Two scores that are sqrt 2 standard deviations apart: Phi(1) = 0.8413.
    assert expected_agreement([np.array([0.0, 2**0.5])], 1.0) == pytest.approx(0.841345, abs=1e-6)


def test_equal_scores_are_ties_and_no_noise_is_the_lexicon() -> None:
    assert noisy_ranks(np.array([0.2, 0.9, 0.2, -0.5]), 0.0, np.random.default_rng(0)) == (1, 0, 1, 2)
    with pytest.raises(ValueError, match="no item has two answers"):
        fit_noise([np.array([0.1, 0.1])])


def test_the_lexicon_reads_the_question_with_the_answer() -> None:
    good, bad = lexicon_scores("The film was", [" great", " awful"])
    assert good > 0 > bad
    assert lexicon_scores("The great film was", [" seen"])[0] > lexicon_scores("The film was", [" seen"])[0]


def test_seconds_lie_on_the_line_through_both_figures() -> None:
    assert [simulated_seconds(k) for k in (4, 6, 9)] == [30.0, 34.0, 40.0]


def test_every_item_is_ranked_once_a_person_through_the_store(tmp_path) -> None:
    items = [Item(str(i), "The film was", (" great", " bad", " seen", f" long {i}")) for i in range(6)]
    with LabelStore(tmp_path / "labels.sqlite", items, per_item=2) as store:
        assignment = store.next("simulated lexicon 1")
        assert assignment is not None  # begun, and then the process was killed
    with LabelStore(tmp_path / "labels.sqlite", items, per_item=2) as store:
        rank_all(store, 0.3, seed=5)
        first = store.rankings()
        rank_all(store, 0.3, seed=5)
        assert store.rankings() == first
    assert [(one.item, one.ranker) for one in first] == [
        (str(i), f"simulated lexicon {person}") for i in range(6) for person in (1, 2)
    ]
    assert {one.seconds for one in first} == {30.0}
    # seeds differ between items and people
    assert len({one.ranks for one in first}) > 1


def test_a_round_names_the_simulated_ranker(labelled: Round) -> None:
    found = labelled.record.labelled
    assert found is not None
    assert found.simulated is not None
    assert found.simulated.agreement == pytest.approx(0.84, abs=1e-6)
    assert found.seconds == pytest.approx((found.rankings + found.heldout) * 28.0)  # K = 3, on the line
    rows = [json.loads(line) for line in (labelled.directory / "rankings.jsonl").read_text().splitlines()]
    assert {row["ranker"] for row in rows} == {"simulated lexicon 1"}
    assert label_round(labelled, simulate=True) is labelled
