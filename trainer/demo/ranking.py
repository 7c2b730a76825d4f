"""How well the served reward model ranks held-out film texts, beside people and simpler rankers."""

from __future__ import annotations

from collections.abc import Sequence

from rewardplane import Client

from .vader_data import FILM, RatedText
from .yardsticks import PairwiseAccuracy, mean_ratings, measure_yardsticks, pairwise_accuracy


def ranking_accuracies(
    training: Sequence[RatedText], held_out: Sequence[RatedText], reward: str
) -> dict[str, PairwiseAccuracy]:
    """Pairwise accuracy by ranker; the reward model is asked over gRPC, as everybody asks it."""
    film = [text for text in held_out if text.source == FILM]
    with Client(reward, timeout_s=300) as client:
        scores = client.score([("", text.text) for text in film]).values
    return {
        "reward model": pairwise_accuracy(scores, mean_ratings(film)),
        **measure_yardsticks(training, film),
    }
