"""The reward model, as PPO sees it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import ChatPair, Pair, TextPair, TokenPair

from ..data import Question
from .config import JudgeConfig
from .patience import Judge
from .score_server import RewardplaneScores, ScoreServer


class RewardJudge(Judge):
    """The reward model: one score an answer. With another tokenizer than the policy's it is sent text."""

    def __init__(self, config: JudgeConfig, encoder: PairEncoder) -> None:
        super().__init__("reward", config)
        self.encoder = encoder
        self._server = _server(config, encoder)
        try:
            self._identity = self.patiently(self._server.identify)
        except BaseException:
            self.close()
            raise

    @property
    def digest(self) -> str:
        return self._identity.digest

    def scores(self, questions: Sequence[Question], pairs: Sequence[TokenPair]) -> Tensor:  # float32[n]
        sent: Sequence[Pair] = pairs
        if not self._identity.same_tokens:
            sent = [self._as_text(q, pair) for q, pair in zip(questions, pairs, strict=True)]
        return torch.from_numpy(self.patiently(lambda: self._server.scores(sent, self.digest)))

    def _as_text(self, question: Question, pair: TokenPair) -> Pair:
        # An answer that is nothing but the stop token has no text; servers refuse an empty one.
        answer = self.encoder.decode_answer(pair) or " "
        return TextPair(question, answer) if isinstance(question, str) else ChatPair(question, answer)

    def close(self) -> None:
        self._server.close()


def _server(config: JudgeConfig, encoder: PairEncoder) -> ScoreServer:
    if not config.kserve:
        return RewardplaneScores(config, encoder)
    from .kserve import KServeScores  # nobody else needs tritonclient

    return KServeScores(config)
