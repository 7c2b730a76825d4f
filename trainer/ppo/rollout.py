"""What PPO knows of its answers, stage by stage. B answers, A tokens in the longest; answers right-padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.wire import TokenPair

MEASURED = ("ended", "answer_mask", "logprobs", "values", "entropies")


@dataclass(frozen=True)
class Rollout:
    """Answers, and what policy and value model said of them when they were sampled."""

    pairs: tuple[TokenPair, ...]  # B
    ended: Tensor  # bool[B]  True where the answer ends with a stop token
    answer_mask: Tensor  # bool[B, A]  True on real answer tokens
    logprobs: Tensor  # float[B, A]  nats, zero on padding
    values: Tensor  # float[B, A]  of the state before each token, zero on padding and without a value model
    entropies: Tensor  # float[B, A]  nats, zero on padding

    def tensors(self) -> dict[str, Tensor]:
        """All but the questions, in host memory, as a state keeps it."""
        answer_ids = torch.from_numpy(np.concatenate([pair.answer_ids for pair in self.pairs]))  # int32[sum A]
        return {"answer_ids": answer_ids} | {name: getattr(self, name).cpu() for name in MEASURED}

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor], question_ids: Sequence[NDArray[np.int32]], device: torch.device
    ) -> Rollout:
        """`question_ids`: B, that of each answer."""
        lengths = tensors["answer_mask"].sum(dim=1).tolist()
        answers = [ids.numpy() for ids in tensors["answer_ids"].clone().split(lengths)]
        pairs = tuple(TokenPair(*ids) for ids in zip(question_ids, answers, strict=True))
        return cls(pairs, **{name: tensors[name].to(device, copy=True) for name in MEASURED})


@dataclass(frozen=True)
class ScoredRollout:
    """A rollout and what the judges said of it."""

    rollout: Rollout
    scores: Tensor  # float[B]
    ref_logprobs: Tensor  # float[B, A]  nats, zero on padding


@dataclass(frozen=True)
class TrainingBatch:
    """What the losses read."""

    pairs: tuple[TokenPair, ...]  # B
    answer_mask: Tensor  # bool[B, A]
    old_logprobs: Tensor  # float[B, A]
    old_values: Tensor  # float[B, A]
    advantages: Tensor  # float[B, A]  whitened
    returns: Tensor  # float[B, A]

    def select(self, rows: Sequence[int]) -> TrainingBatch:
        index = torch.tensor(rows, device=self.answer_mask.device)
        tensors = (self.answer_mask, self.old_logprobs, self.old_values, self.advantages, self.returns)
        return TrainingBatch(tuple(self.pairs[i] for i in rows), *(t[index] for t in tensors))


def answer_mask_of(pairs: Sequence[TokenPair], device: torch.device | str = "cpu") -> Tensor:  # bool[B, A]
    lengths = torch.tensor([len(pair.answer_ids) for pair in pairs], device=device)
    return torch.arange(int(lengths.max()), device=device) < lengths[:, None]


def pad_answers(flat: Tensor, answer_mask: Tensor) -> Tensor:  # [sum A], bool[B, A] -> [B, A]
    """Spreads values of answer tokens, pair by pair, over rows; zero on padding. Differentiable."""
    return flat.new_zeros(answer_mask.shape).masked_scatter(answer_mask, flat)
