"""What policy and value model say of sampled answers, before either is updated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardplane.modeling.models import packed_logprobs_and_entropies
from rewardplane.wire import TokenPair

from .learner import Learner, PolicyLearner
from .microbatch import Minibatch
from .over_answers import over_answers
from .rollout import Rollout, answer_mask_of
from .side_by_side import side_by_side


@dataclass(frozen=True)
class FirstForward:
    """The first step's forward passes, which the measuring pass has computed already, with their graphs.

    None where the step computes them itself: a first minibatch of several micro-batches would keep all their graphs,
    a GPU the policy's beside the value model's, several processes gather their weights for each pass, and of answers
    that were sampled ahead the weights have changed.
    """

    logprobs: Tensor | None = None  # [sum A]
    values: Any = None
    """Of ValueWork.measure."""


def measure(
    learner: Learner,
    pairs: Sequence[TokenPair],
    stop_token_ids: Sequence[int],
    minibatches: Sequence[Minibatch],
    *,
    may_keep: bool = True,  # False where another update comes first: its steps change the weights
) -> tuple[Rollout, FirstForward]:
    """Runs the rows that the first epoch will run, cut the same way, so that its first ratio is exactly 1 on-policy.

    Log-probs come from this pass and not from the sampler: its kernels round differently.
    """
    device = learner.policy.trained.device
    mask = answer_mask_of(pairs, device)
    value = learner.value
    keep = may_keep and device.type == "cpu" and learner.processes.count == 1 and len(minibatches[0]) == 1

    def of_value() -> tuple[Tensor, Any]:
        if value is None:
            return torch.zeros(mask.shape, device=device), None
        return value.measure(mask, minibatches, keep=keep)

    ((logprobs, entropies), first_logprobs), (values, first_values) = side_by_side(
        device, lambda: _of_policy(learner.policy, mask, minibatches, keep=keep), of_value, processes=learner.processes
    )
    ended = torch.tensor([int(pair.answer_ids[-1]) in stop_token_ids for pair in pairs], device=device)
    rollout = Rollout(tuple(pairs), ended, mask, logprobs, values, entropies)
    return rollout, FirstForward(first_logprobs, first_values)


def measure_policy(
    policy: PolicyLearner,
    answer_mask: Tensor,  # bool[B, A]
    minibatches: Sequence[Minibatch],
) -> tuple[Tensor, Tensor]:  # log-probs and entropies, float[B, A] each, zero on padding
    (logprobs, entropies), _ = _of_policy(policy, answer_mask, minibatches, keep=False)
    return logprobs, entropies


def _of_policy(
    policy: PolicyLearner, mask: Tensor, minibatches: Sequence[Minibatch], *, keep: bool
) -> tuple[list[Tensor], Tensor | None]:
    return over_answers(
        mask,
        minibatches,
        lambda packed: policy.run(packed_logprobs_and_entropies, packed, policy.temperature),
        policy.trained.processes,
        keep=keep,
    )
