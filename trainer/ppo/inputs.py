"""The questions and texts of a run: read and checked before a model is loaded, encoded when there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rewardplane.modeling.models import Loaded
from rewardplane.wire import TokenPair

from ..data import BadData, Question, read_prompts, read_texts
from .collect import EncodedQuestion
from .config import PpoRunConfig
from .pretraining import encode_texts
from .questions import Shuffled

QUESTION_STREAM, TEXT_STREAM = 10, 11


class Files:
    """What the configuration names, as it lies on disk. Raises BadData."""

    def __init__(self, config: PpoRunConfig) -> None:
        data, evaluation = config.data, config.evaluation
        self.prompts = read_prompts(data.prompts)
        self.held_out = read_prompts(evaluation.prompts) if evaluation.prompts else []
        self.texts = read_texts(data.pretraining) if config.ppo.ptx_coef and data.pretraining else []


class Inputs:
    """What the run draws from. Raises BadData when a question is too long."""

    def __init__(self, files: Files, policy: Loaded, config: PpoRunConfig) -> None:
        questions = _encode(files.prompts, policy, config, config.data.prompts)
        self.questions = Shuffled(questions, config.seed, QUESTION_STREAM)
        self.held_out: list[EncodedQuestion] = []
        if config.evaluation.prompts:
            self.held_out = _encode(files.held_out, policy, config, config.evaluation.prompts)
        self._texts: Shuffled[TokenPair] | None = None
        if files.texts:
            longest = min(config.data.max_pretraining_tokens, policy.max_pair_tokens)
            self._texts = Shuffled(encode_texts(files.texts, policy.encoder, longest), config.seed, TEXT_STREAM)
        self._config = config

    def of_update(self, update: int) -> list[EncodedQuestion]:
        return self.questions.batch(update, self._config.sampling.questions_per_update)

    def texts_of_update(self, update: int) -> Iterator[Sequence[TokenPair]] | None:
        """The pretraining texts of each optimizer step of an update."""
        if self._texts is None:
            return None
        texts, size = self._texts, self._config.ppo.ptx_texts
        steps = self._config.ppo.epochs * self._config.ppo.minibatches
        return (texts.batch(update * steps + step, size) for step in range(steps))


def _encode(questions: Sequence[Question], policy: Loaded, config: PpoRunConfig, source: Path) -> list[EncodedQuestion]:
    room = min(config.data.max_question_tokens, policy.max_pair_tokens - config.sampling.max_answer_tokens)
    encoded = [EncodedQuestion(question, policy.encoder.encode_question(question)) for question in questions]
    for number, question in enumerate(encoded, start=1):
        if len(question.ids) > room:
            raise BadData(
                f"{source}: question {number} has {len(question.ids)} tokens; "
                f"{room} fit beside an answer of {config.sampling.max_answer_tokens}"
            )
    return encoded
