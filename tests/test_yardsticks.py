"""Pairwise accuracy and the judges, against arithmetic done by hand."""

import math

import numpy as np
import pytest
from rewardplane.trainer.demo.judge import (
    best_of_n,
    best_of_n_kl_nats,
    compound_scores,
    judge_answers,
    words,
)
from rewardplane.trainer.demo.vader_data import FILM, RatedText
from rewardplane.trainer.demo.yardsticks import (
    BLOCK,
    measure_yardsticks,
    one_person_accuracy,
    pairwise_accuracy,
    tfidf_ridge_accuracy,
)
from rewardplane.trainer.distinct import distinct_bigrams_ratio


def test_pairs_in_order_are_counted_exactly() -> None:
    # (1,2): 1 < 2 and 1 < 3, right. (1,3): 1 < 3 and 1 < 2, right. (2,3): 2 < 3 but 3 > 2, wrong.
    accuracy = pairwise_accuracy([1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    assert accuracy.ratio == pytest.approx(2 / 3)
    assert (accuracy.pairs, accuracy.texts) == (3, 3)


def test_equal_ratings_do_not_count_and_equal_scores_count_half() -> None:
    # Pairs with different ratings: (a,c), (b,c). Scores: a = c, one half; b < c, right.
    accuracy = pairwise_accuracy([5.0, 4.0, 5.0], [1.0, 1.0, 2.0])
    assert (accuracy.ratio, accuracy.pairs) == (0.75, 2)
    assert pairwise_accuracy([7.0] * 6, [1, 2, 3, 4, 5, 6]).ratio == 0.5


def test_more_texts_than_a_block_count_like_a_double_loop() -> None:
    rng = np.random.default_rng(0)
    scores, ratings = rng.integers(5, size=BLOCK + 88), rng.integers(7, size=BLOCK + 88)
    right = pairs = 0.0
    for i in range(len(scores)):
        for j in range(i):
            if ratings[i] != ratings[j]:
                pairs += 1
                same = scores[i] == scores[j]
                right += 0.5 if same else float((scores[i] > scores[j]) == (ratings[i] > ratings[j]))

    accuracy = pairwise_accuracy(scores, ratings, resamples=0)
    assert accuracy.ratio == pytest.approx(right / pairs, abs=1e-12)
    assert accuracy.pairs == pairs
    assert math.isnan(accuracy.low_ratio)


def test_the_interval_is_that_of_resampled_texts() -> None:
    rng = np.random.default_rng(1)
    ratings = rng.normal(size=60)
    scores = ratings + rng.normal(size=60)
    resampled = []
    for _ in range(400):
        drawn = rng.integers(60, size=60)
        resampled.append(pairwise_accuracy(scores[drawn], ratings[drawn], resamples=0).ratio)
    accuracy = pairwise_accuracy(scores, ratings, resamples=2000, seed=3)

    # The end points of 400 resamples scatter by about 0.008.
    assert accuracy.low_ratio == pytest.approx(np.quantile(resampled, 0.025), abs=0.03)
    assert accuracy.high_ratio == pytest.approx(np.quantile(resampled, 0.975), abs=0.03)
    assert accuracy.low_ratio < accuracy.ratio < accuracy.high_ratio
    assert pairwise_accuracy(ratings, ratings).low_ratio == 1.0


@pytest.mark.parametrize(
    ("scores", "ratings", "complaint"),
    [
        ([1.0, 2.0], [1.0], "equal length"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "equal length"),
        ([1.0, math.nan], [1.0, 2.0], "finite"),
        ([1.0, 2.0], [3.0, 3.0], "different ratings"),
        ([], [], "different ratings"),
    ],
)
def test_what_cannot_be_compared_is_refused(scores: list[float], ratings: list[float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        pairwise_accuracy(scores, ratings)


def test_one_person_is_left_out_of_what_the_others_say() -> None:
    # Whoever is drawn, the person agrees with the others of both texts: 3 > -3 and mean 3 > mean -3.
    agreed = [RatedText(FILM, "1", "good", (3, 3, 3)), RatedText(FILM, "2", "bad", (-3, -3, -3))]
    assert one_person_accuracy(agreed).ratio == 1.0
    # Two people a text, (4, -4) and (3, -3). Drawn 4 and 3: 4 > 3 but others -4 < -3, wrong; 4 and -3:
    # others -4 < 3, wrong; -4 and 3: others 4 > -3, wrong; -4 and -3: others 4 > 3, wrong. Would a person
    # count among the others, both means were 0 and no pair were left.
    opposed = [RatedText(FILM, "1", "good", (4, -4)), RatedText(FILM, "2", "bad", (3, -3))]
    assert one_person_accuracy(opposed).ratio == 0.0


def test_ridge_learns_words_that_people_like_and_the_lexicon_knows_them() -> None:
    adjectives = (("good", 2), ("fine", 1), ("bad", -2), ("dull", -1))
    texts = [
        RatedText(FILM, f"{word}{i}", f"a {word} film about {i}", (rating, rating))
        for i in range(12)
        for word, rating in adjectives
    ]
    training, held_out = texts[:32], texts[32:]
    assert tfidf_ridge_accuracy(training, held_out).ratio == 1.0
    yardsticks = measure_yardsticks(training, held_out)
    assert set(yardsticks) == {
        "one person against the others", "tf-idf ridge, same training texts", "VADER lexicon",
    }  # fmt: skip
    assert yardsticks["VADER lexicon"].ratio > 0.8


def test_compound_is_the_published_score_of_published_examples() -> None:
    # vaderSentiment 3.3.2, README, "Code Examples": the output for these sentences.
    sentences = ["VADER is smart, handsome, and funny.", "Today only kinda sux! But I'll get by, lol", ""]
    assert compound_scores(sentences).tolist() == [0.8316, 0.5249, 0.0]


def test_judgement_reads_question_and_answer_but_counts_bigrams_of_answers() -> None:
    # "VADER is smart, handsome, and funny." is 0.8316 and "Today" 0: mean 0.4158, one of two positive.
    judgement = judge_answers(["VADER is smart,", "Today"], [" handsome, and funny.", ""])
    assert judgement.mean_compound == pytest.approx(0.8316 / 2)
    assert (judgement.positive_ratio, judgement.answers) == (0.5, 2)
    assert judgement.distinct_bigrams_ratio == 1.0  # handsome|, ,|and and|funny funny|.
    with pytest.raises(ValueError, match="as many"):
        judge_answers(["a"], [])


def test_distinct_bigrams_are_counted_over_all_answers_and_never_across_two() -> None:
    # a b, b a, a b | a b, b c: 5 bigrams, of which {ab, ba, bc} are different.
    assert distinct_bigrams_ratio([["a", "b", "a", "b"], ["a", "b", "c"]]) == 3 / 5
    assert distinct_bigrams_ratio([[1, 2], [3], [2, 3], []]) == 1.0
    assert distinct_bigrams_ratio([[1], []]) == 0.0
    assert words("It's GOOD, isn't it?") == ["it's", "good", ",", "isn't", "it", "?"]


def test_best_of_n_takes_the_highest_score_of_each_question() -> None:
    assert best_of_n([[0.1, 0.9, 0.3], [2.0, -1.0, 2.0]]).tolist() == [1, 0]
    # ln 4 - 3/4 = 1.3863 - 0.75
    assert best_of_n_kl_nats(4) == pytest.approx(0.6363, abs=1e-4)
    with pytest.raises(ValueError, match="NaN"):
        best_of_n([[0.0, math.nan]])
    with pytest.raises(ValueError, match="shape"):
        best_of_n([1.0, 2.0])
