"""Answers of served policies to the held-out questions, and what the judges say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rewardplane import Client
from rewardplane.results import Answer

from ..data import Question, to_pair
from .judge import best_of_n, best_of_n_kl_nats, judge_answers
from .servers import serving
from .settings import ANSWER_TOKENS
from .table import JudgedRun

TIMEOUT_S = 300.0
QUESTIONS_A_CALL = 64


@dataclass(frozen=True)
class Answered:
    """n answers to each of Q questions."""

    answers: tuple[tuple[Answer, ...], ...]  # [Q][n]
    scores: NDArray[np.float32]  # [Q, n]
    log_ratios: NDArray[np.float64]  # [Q, n]  log pi - log pi_ref, nats, summed over an answer's tokens

    @property
    def kl_nats(self) -> float:
        """Mean over answers."""
        return float(self.log_ratios.mean())

    def texts(self, choice: NDArray[np.int64] | None = None) -> list[str]:
        """One answer a question: the first, or that of `choice`."""
        columns = np.zeros(len(self.answers), np.int64) if choice is None else choice
        return [row[int(k)].text for row, k in zip(self.answers, columns, strict=True)]


def ask(
    policy: Client, reward: Client, reference: Client, questions: Sequence[Question], n: int, seed: int,
    max_answer_tokens: int = ANSWER_TOKENS,
) -> Answered:  # fmt: skip
    """Samples from a served policy and asks the judges about the tokens it sent."""
    answers: list[tuple[Answer, ...]] = []
    for start in range(0, len(questions), QUESTIONS_A_CALL):
        reply = policy.generate(
            questions[start : start + QUESTIONS_A_CALL],
            answers_per_question=n,
            max_answer_tokens=max_answer_tokens,
            seed=seed + start,
        )
        answers.extend(reply.answers)
    flat = [answer for row in answers for answer in row]
    tokens = [answer.tokens for answer in flat]
    ref_logprobs = reference.logprobs(tokens).values
    log_ratios = [float((a.logprobs - ref).sum()) for a, ref in zip(flat, ref_logprobs, strict=True)]
    same_tokens = reward.info().tokenizer_fingerprint == policy.info().tokenizer_fingerprint
    # As RewardJudge: an answer of nothing but the stop token has no text, and servers refuse an empty one.
    texts = [to_pair(q, answer.text or " ") for q, row in zip(questions, answers, strict=True) for answer in row]
    scores = reward.score(tokens if same_tokens else texts).values
    return Answered(tuple(answers), scores.reshape(-1, n), np.reshape(log_ratios, (-1, n)))


def ask_checkpoint(
    checkpoint: Path, logs: Path, judges: tuple[str, str], questions: Sequence[str], n: int, seed: int,
    max_answer_tokens: int = ANSWER_TOKENS,
) -> Answered:  # fmt: skip
    """Serves a checkpoint as a policy, samples from it and stops it. `judges`: reward, reference."""
    with (
        serving("policy", checkpoint, logs) as address,
        Client(address, timeout_s=TIMEOUT_S) as policy,
        Client(judges[0], timeout_s=TIMEOUT_S) as reward,
        Client(judges[1], timeout_s=TIMEOUT_S) as reference,
    ):
        return ask(policy, reward, reference, questions, n, seed, max_answer_tokens)


def judged(name: str, questions: Sequence[str], answered: Answered) -> JudgedRun:
    return JudgedRun(
        name=name,
        judgement=judge_answers(questions, answered.texts()),
        score=float(answered.scores[:, 0].mean()),
        kl_nats=answered.kl_nats,
    )


def judged_best(name: str, questions: Sequence[str], answered: Answered) -> JudgedRun:
    """The best of the n answers by the reward model: what sampling more buys without training."""
    choice = best_of_n(answered.scores)
    return JudgedRun(
        name=name,
        judgement=judge_answers(questions, answered.texts(choice)),
        score=float(answered.scores[np.arange(len(choice)), choice].mean()),
        kl_nats=best_of_n_kl_nats(answered.scores.shape[1]),
    )
