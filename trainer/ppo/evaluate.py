"""Answers to held-out questions: how a policy does on what it was not trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from ..distinct import distinct_bigrams_ratio
from .collect import Collector, EncodedQuestion
from .config import PpoRunConfig
from .learner import PolicyLearner
from .measure import measure_policy
from .microbatch import in_order, packed_minibatch
from .rollout import answer_mask_of

Judge = Callable[[Sequence[str], Sequence[str]], Mapping[str, float]]
"""Given questions and answers as text, gives figures that join the metrics; never sees the reward model."""

SEED_STREAM = 1  # training draws from stream 0
SAMPLES = "samples.jsonl"


class Evaluation:
    """Samples one set of answers to the same questions with the same random numbers each time."""

    def __init__(
        self,
        collector: Collector,
        policy: PolicyLearner,
        questions: Sequence[EncodedQuestion],
        judge: Judge | None,
        config: PpoRunConfig,
    ) -> None:
        self.collector = collector
        self.policy = policy
        self.questions = questions
        self.judge = judge
        self.samples_file = config.output.directory / SAMPLES
        self.samples = config.evaluation.samples
        self.seed = config.seed
        self.micro_batch_tokens = config.ppo.micro_batch_tokens

    def run(self, update: int) -> dict[str, float]:
        """Figures named eval_...; writes the first answers to samples.jsonl."""
        pairs, verdict = self.collector.answers(self.questions, [self.seed, SEED_STREAM])
        n = self.collector.config.answers_per_question
        encoder = self.collector.policy.encoder
        processes, device = self.policy.trained.processes, self.policy.trained.device
        rows = in_order(pairs, answers_per_question=n, max_tokens=self.micro_batch_tokens, processes=processes)
        mask = answer_mask_of(pairs, device)
        logprobs, _ = measure_policy(self.policy, mask, (packed_minibatch(pairs, rows, device),))
        judged = verdict.result()
        log_ratio = logprobs[mask] - judged.ref_logprobs.to(device)
        figures = {
            "eval_score": float(judged.scores.mean()),
            "eval_kl_nats": float(log_ratio.sum()) / len(pairs),
            "eval_ended_ratio": float(np.mean([encoder.ended(pair.answer_ids) for pair in pairs])),
            "eval_answer_tokens": float(mask.sum()) / len(pairs),
            "eval_distinct_bigrams_ratio": distinct_bigrams_ratio([pair.answer_ids.tolist() for pair in pairs]),
        }
        questions = [_as_text(q) for q in self.questions for _ in range(n)]
        answers = [encoder.decode_answer(pair) for pair in pairs]
        if (judge := self.judge) is not None:
            given = processes.from_first(lambda: judge(questions, answers))
            figures.update({f"eval_{name}": value for name, value in given.items()})
        if processes.first:
            self._write(update, questions, answers, judged.scores)
        return figures

    def forget_from(self, update: int) -> None:
        """Drops samples that a run which goes on at `update` will write again."""
        if self.samples_file.exists():
            lines = self.samples_file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["update"] < update]
            self.samples_file.write_text("".join(kept), encoding="utf-8")

    def _write(self, update: int, questions: list[str], answers: list[str], scores: torch.Tensor) -> None:
        with self.samples_file.open("a", encoding="utf-8") as file:
            for row in range(min(self.samples, len(answers))):
                line = {
                    "update": update,
                    "question": questions[row],
                    "answer": answers[row],
                    "score": float(scores[row]),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _as_text(question: EncodedQuestion) -> str:
    if isinstance(question.text, str):
        return question.text
    return "\n".join(f"{message.role}: {message.content}" for message in question.text)
