"""What policy and value model say of sampled answers, before either is updated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewardplane.modeling.models import packed_logprobs_and_entropies
from rewardplane.modeling.packing import PackedPairs
from rewardplane.wire import TokenPair

from ..processes import Processes
from .learner import Learner, PolicyLearner
from .microbatch import Minibatch
from .rollout import Rollout, answer_mask_of, pad_answers
from .side_by_side import side_by_side
from .value import packed_values


def measure(
    learner: Learner,
    pairs: Sequence[TokenPair],
    stop_token_ids: Sequence[int],
    minibatches: Sequence[Minibatch],
) -> Rollout:
    """Runs the rows that the first epoch will run, cut the same way, so that its first ratio is exactly 1.

    Log-probs come from this pass and not from the sampler: its kernels round differently.
    """
    device = learner.policy.trained.device
    mask = answer_mask_of(pairs, device)
    value = learner.value

    def of_value() -> Tensor:
        if value is None:
            return torch.zeros(mask.shape, device=device)
        return _of_answers(
            mask, minibatches, lambda packed: (value.run(packed_values, packed),), learner.processes
        )[0]  # fmt: skip

    (logprobs, entropies), values = side_by_side(
        device, lambda: measure_policy(learner.policy, mask, minibatches), of_value, processes=learner.processes
    )
    ended = torch.tensor([int(pair.answer_ids[-1]) in stop_token_ids for pair in pairs], device=device)
    return Rollout(tuple(pairs), ended, mask, logprobs, values, entropies)


def measure_policy(
    policy: PolicyLearner,
    answer_mask: Tensor,  # bool[B, A]
    minibatches: Sequence[Minibatch],
) -> tuple[Tensor, Tensor]:  # log-probs and entropies, float[B, A] each, zero on padding
    logprobs, entropies = _of_answers(
        answer_mask,
        minibatches,
        lambda packed: policy.run(packed_logprobs_and_entropies, packed, policy.temperature),
        policy.trained.processes,
    )
    return logprobs, entropies


@torch.no_grad()
def _of_answers(
    mask: Tensor,
    minibatches: Sequence[Minibatch],
    forward: Callable[[PackedPairs], tuple[Tensor, ...]],
    processes: Processes,
) -> list[Tensor]:
    """What `forward` gives for every answer token, [sum A] a tensor, as rows; of all processes."""
    results: list[Tensor] = []
    for micro in (micro for minibatch in minibatches for micro in minibatch):
        rows = torch.tensor(micro.rows, device=mask.device)
        flat = forward(micro.packed)
        results = results or [x.new_zeros(mask.shape) for x in flat]
        for result, x in zip(results, flat, strict=True):
            if micro.weight:
                result[rows] = pad_answers(x, mask[rows])
    return [processes.add_up(result) for result in results]  # each row is zero in all but one of them
