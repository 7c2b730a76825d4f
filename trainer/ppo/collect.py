"""Samples answers and has them judged: while one batch of questions is sampled, the judges read the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rewardplane.modeling.models import Loaded
from rewardplane.modeling.sampling import Sampling, sample_answers
from rewardplane.wire import TokenPair

from ..data import Question
from ..judges import PolicyServer, ReferenceJudge, RewardJudge
from ..precision import Precision, autocast
from ..processes import Processes
from ..sharding import Trained
from .config import SamplingConfig

AskedBatch = tuple[Future[Tensor], Future[list[Tensor]]]
"""Of a batch that is being judged: its scores, and its log-probs under the reference."""


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


class Judging:
    """The judges at work."""

    def __init__(self, own: Future[Verdict], processes: Processes) -> None:
        self._own = own
        self._processes = processes

    def result(self) -> Verdict:
        """What they say of the answers of all processes, which must all ask."""
        parts = self._processes.gather(self._own.result())
        return Verdict(torch.cat([part.scores for part in parts]), torch.cat([part.ref_logprobs for part in parts]))


class Collector:
    """Turns questions into answers and their verdicts; each process samples its share, and has it judged."""

    def __init__(
        self,
        policy: Loaded,
        trained: Trained,
        reward: RewardJudge,
        reference: ReferenceJudge,
        config: SamplingConfig,
        precision: Precision = "float32",
        server: PolicyServer | None = None,
    ) -> None:
        """`trained` holds the policy's model; `server` samples in its place."""
        self.policy = policy
        self.trained = trained
        self.precision = precision
        self.server = server
        self.reward = reward
        self.reference = reference
        self.config = config
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="judge")

    def answers(
        self, questions: Sequence[EncodedQuestion], seed: Sequence[int]
    ) -> tuple[tuple[TokenPair, ...], Judging]:
        """Samples answers, question by question; the verdict comes when the judges are done.

        `seed` names the draw: equal seeds and weights give equal answers, in any number of processes.
        """
        n = self.config.answers_per_question
        model = self.trained.readable(self.trained.device)
        own: list[TokenPair] = []
        pending: list[AskedBatch] = []
        for start, part in self._own_batches(questions):
            new = self._sample(model, part, seed, start * n)
            own.extend(new)
            pending.append(self._ask(part, new))
        pairs = tuple(pair for part in self.trained.processes.gather(own) for pair in part)
        return pairs, self._judging(pending)

    def ask(self, questions: Sequence[EncodedQuestion], pairs: Sequence[TokenPair]) -> Judging:
        """Has answers judged that `answers` gave before; in the same batches, so that the verdict rounds the same."""
        n = self.config.answers_per_question
        return self._judging([
            self._ask(part, pairs[start * n : (start + len(part)) * n]) for start, part in self._own_batches(questions)
        ])  # fmt: skip

    def _own_batches(
        self, questions: Sequence[EncodedQuestion]
    ) -> Iterator[tuple[int, Sequence[EncodedQuestion]]]:  # and the number of the first question of each
        processes, size = self.trained.processes, self.config.batch_questions
        begin, end = (len(questions) * rank // processes.count for rank in (processes.rank, processes.rank + 1))
        for start in range(begin, end, size):
            yield start, questions[start : min(start + size, end)]

    def _ask(self, questions: Sequence[EncodedQuestion], pairs: Sequence[TokenPair]) -> AskedBatch:
        texts = [q.text for q in questions for _ in range(self.config.answers_per_question)]
        return (
            self._threads.submit(copy_context().run, self.reward.scores, texts, pairs),
            self._threads.submit(copy_context().run, self.reference.logprobs, pairs, self.config.temperature),
        )

    def _judging(self, pending: Sequence[AskedBatch]) -> Judging:
        return Judging(self._threads.submit(_gather, pending), self.trained.processes)

    def _sample(
        self, model: Any, questions: Sequence[EncodedQuestion], seed: Sequence[int], first_answer: int
    ) -> list[TokenPair]:
        sampling = Sampling(
            max_answer_tokens=self.config.max_answer_tokens,
            temperature=self.config.temperature,
            seed=_draw(seed),
            first_answer=first_answer,
        )
        n = self.config.answers_per_question
        if self.server is not None:
            answers = self.server.sample(
                [q.ids for q in questions],
                answers_per_question=n,
                max_answer_tokens=sampling.max_answer_tokens,
                temperature=sampling.temperature,
                seed=_draw([*seed, first_answer]) if first_answer else sampling.seed,
            )
            return [TokenPair(questions[i // n].ids, ids) for i, ids in enumerate(answers)]
        with autocast(self.precision, model.device):
            answers = sample_answers(
                model,
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
        if self.server is not None:
            self.server.close()


def _draw(seed: Sequence[int]) -> int:
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def _gather(pending: Sequence[AskedBatch]) -> Verdict:
    # The first judge that fails for good ends the wait for the others.
    futures: list[Future[Any]] = [future for both in pending for future in both]
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    for future in done:
        future.result()
    # The empty ones are what a process without questions has.
    return Verdict(
        scores=torch.cat([torch.empty(0), *(scores.result() for scores, _ in pending)]),
        ref_logprobs=torch.cat([torch.empty(0), *(part for _, logprobs in pending for part in logprobs.result())]),
    )
