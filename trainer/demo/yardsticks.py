"""How well texts can be ranked by people's ratings without our reward model: the yardsticks of the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from .judge import compound_scores
from .vader_data import RatedText

BLOCK = 512  # columns of the pair matrix held at a time: 11,000 texts then need 45 MB and not 1 GB


@dataclass(frozen=True)
class PairwiseAccuracy:
    ratio: float  # 0..1, 0.5 is chance; share of pairs put in the order of people's mean ratings
    low_ratio: float  # 2.5 % and 97.5 % points of the bootstrap over texts
    high_ratio: float
    pairs: int  # pairs of texts with different mean ratings
    texts: int


def pairwise_accuracy(
    scores: ArrayLike,  # [N]  any scale
    ratings: ArrayLike,  # [N]  higher is better
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> PairwiseAccuracy:
    """Counts exactly, over all pairs with different ratings, how often the higher rated text scores higher.

    Equal scores for different ratings count one half, so that a constant gets 0.5. The interval resamples
    texts and not pairs: the N - 1 pairs of one text are not independent. With multinomial weights w it is
    w'Cw / w'Dw, where D marks the pairs that count and C what the scores make of them; NaN without resamples.
    Raises ValueError for other shapes, for non-finite numbers and if all ratings are equal.
    """
    s, r = np.asarray(scores, dtype=np.float64), np.asarray(ratings, dtype=np.float64)
    if s.ndim != 1 or s.shape != r.shape:
        raise ValueError(f"scores {s.shape} and ratings {r.shape} must be two lists of equal length")
    if not (np.isfinite(s).all() and np.isfinite(r).all()):
        raise ValueError("scores and ratings must be finite")
    if s.size == 0 or np.ptp(r) == 0:
        raise ValueError("pairwise accuracy needs two texts with different ratings")
    drawn = np.random.default_rng(seed).multinomial(s.size, np.full(s.size, 1 / s.size), size=resamples)
    weights = np.vstack([np.ones(s.size), drawn]).astype(np.float32)  # [1 + resamples, N]; row 0: as it is
    right, counted = np.zeros(len(weights)), np.zeros(len(weights))
    for start in range(0, s.size, BLOCK):
        block = slice(start, start + BLOCK)
        order = np.sign(r[:, None] - r[None, block])  # [N, block]  -1, 0, 1
        agrees = (1 + order * np.sign(s[:, None] - s[None, block])) / 2  # [N, block]  0, 1/2, 1
        differs = order != 0  # [N, block]
        counted += _weighted_pairs(weights, differs, block)
        right += _weighted_pairs(weights, agrees * differs, block)
    ratios = right[1:][counted[1:] > 0] / counted[1:][counted[1:] > 0]
    low, high = np.quantile(ratios, [0.025, 0.975]) if ratios.size else (np.nan, np.nan)
    # Every pair was counted from both of its ends.
    pairs = round(counted[0] / 2)
    return PairwiseAccuracy(float(right[0] / counted[0]), float(low), float(high), pairs, s.size)


def _weighted_pairs(
    weights: NDArray[np.float32],  # [B, N]
    pairs: NDArray[Any],  # [N, block]  what each pair counts
    block: slice,  # where the columns of `pairs` lie among the N
) -> NDArray[np.float64]:  # [B]  w' pairs w
    columns = weights @ pairs.astype(np.float32)  # [B, block]
    counts: NDArray[np.float64] = (columns * weights[:, block]).sum(axis=1, dtype=np.float64)
    return counts


def one_person_accuracy(texts: Sequence[RatedText], *, draws: int = 50, seed: int = 0) -> PairwiseAccuracy:
    """One person's ratings against the mean of all the others, averaged over random persons.

    Every draw takes one rating of each text at random and removes it from that text's mean. A person has
    only nine numbers to give, so many pairs tie and count one half, as everywhere here. The interval is
    that of the draws.
    """
    counts = np.array([len(text.ratings) for text in texts])
    totals = np.array([sum(text.ratings) for text in texts])
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(draws):
        picks = rng.integers(counts)
        own = np.array([text.ratings[pick] for text, pick in zip(texts, picks, strict=True)])
        # Whole numbers divide to the nearest float, so means that are equal as fractions are equal here.
        results.append(pairwise_accuracy(own, (totals - own) / (counts - 1), resamples=0))
    ratios = [result.ratio for result in results]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return PairwiseAccuracy(float(np.mean(ratios)), float(low), float(high), results[0].pairs, len(texts))


def measure_yardsticks(training: Sequence[RatedText], texts: Sequence[RatedText]) -> dict[str, PairwiseAccuracy]:
    """Ranks `texts`, which must be held out, in three ways; names as the demo's table shows them."""
    return {
        "one person against the others": one_person_accuracy(texts),
        "tf-idf ridge, same training texts": tfidf_ridge_accuracy(training, texts),
        "VADER lexicon": lexicon_accuracy(texts),
    }


def lexicon_accuracy(texts: Sequence[RatedText]) -> PairwiseAccuracy:
    """The VADER lexicon's compound score: it has seen none of the texts."""
    return pairwise_accuracy(compound_scores([text.text for text in texts]), mean_ratings(texts))


def tfidf_ridge_accuracy(training: Sequence[RatedText], texts: Sequence[RatedText]) -> PairwiseAccuracy:
    """Ridge regression of the mean rating on tf-idf of words and word pairs, fitted on `training`."""
    return pairwise_accuracy(tfidf_ridge_scores(training, [text.text for text in texts]), mean_ratings(texts))


def tfidf_ridge_scores(training: Sequence[RatedText], texts: Sequence[str]) -> NDArray[np.float64]:
    """Gives the predicted mean rating of each text, shape [N]."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    features = vectorizer.fit_transform([text.text for text in training])
    model = Ridge(alpha=1.0).fit(features, mean_ratings(training))
    return np.asarray(model.predict(vectorizer.transform(list(texts))), dtype=np.float64)


def mean_ratings(texts: Sequence[RatedText]) -> NDArray[np.float64]:
    """Gives people's mean rating of each text, shape [N]."""
    return np.array([text.rating for text in texts])
