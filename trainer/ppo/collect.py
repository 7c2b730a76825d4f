"""Samples answers and has them judged: while one batch of questions is sampled, the judges read the last."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewardplane.modeling.models import Loaded
from rewardplane.modeling.sampling import Sampling, sample_answers
from rewardplane.wire import TokenPair

from ..data import Question
from ..judges import ReferenceJudge, RewardJudge
from .config import SamplingConfig


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as it was given and as the policy reads it."""

    text: Question
    ids: np.ndarray  # int32[Q]


@dataclass(frozen=True)
class Verdict:
    """What the judges say of some answers."""

    scores: Tensor  # float32[n]
    ref_logprobs: Tensor  # float32[sum A]  nats, pair by pair


class Collector:
    """Turns questions into answers and their verdicts."""

    def __init__(self, policy: Loaded, reward: RewardJudge, reference: ReferenceJudge, config: SamplingConfig) -> None:
        self.policy = policy
        self.reward = reward
        self.reference = reference
        self.config = config
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="judge")

    def answers(
        self, questions: Sequence[EncodedQuestion], seed: Sequence[int]
    ) -> tuple[tuple[TokenPair, ...], Future[Verdict]]:
        """Samples answers, question by question; the verdict comes when the judges are done.

        `seed` names the draw: equal seeds and weights give equal answers.
        """
        pairs: list[TokenPair] = []
        pending: list[tuple[Future[Tensor], Future[list[Tensor]]]] = []
        size = self.config.batch_questions
        for number, start in enumerate(range(0, len(questions), size)):
            part = questions[start : start + size]
            new = self._sample(part, [*seed, number])
            texts = [q.text for q in part for _ in range(self.config.answers_per_question)]
            pairs.extend(new)
            pending.append(
                (
                    self._threads.submit(self.reward.scores, texts, new),
                    self._threads.submit(self.reference.logprobs, new, self.config.temperature),
                )
            )
        return tuple(pairs), self._threads.submit(_gather, pending)

    def _sample(self, questions: Sequence[EncodedQuestion], seed: Sequence[int]) -> list[TokenPair]:
        sampling = Sampling(
            max_answer_tokens=self.config.max_answer_tokens,
            temperature=self.config.temperature,
            seed=int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]),
        )
        n = self.config.answers_per_question
        answers = sample_answers(
            self.policy.model,
            [q.ids for q in questions],
            self.policy.encoder.stop_token_ids,
            sampling,
            answers_per_question=n,
        )
        return [TokenPair(questions[i // n].ids, ids) for i, ids in enumerate(answers)]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.reward.close()
        self.reference.close()


def _gather(pending: Sequence[tuple[Future[Tensor], Future[list[Tensor]]]]) -> Verdict:
    # The first judge that fails for good ends the wait for the others.
    futures: list[Future[Any]] = [future for both in pending for future in both]
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
    return Verdict(
        scores=torch.cat([scores.result() for scores, _ in pending]),
        ref_logprobs=torch.cat([part for _, logprobs in pending for part in logprobs.result()]),
    )
