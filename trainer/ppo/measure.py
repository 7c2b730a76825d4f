"""What policy and value model say of sampled answers, before either is updated."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rewardplane.modeling.models import packed_logprobs_and_entropies
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

from .microbatch import Minibatch
from .rollout import Rollout, answer_mask_of, pad_answers
from .update import Learner


@torch.no_grad()
def measure(
    learner: Learner,
    pairs: Sequence[TokenPair],
    stop_token_ids: Sequence[int],
    minibatches: Sequence[Minibatch],
) -> Rollout:
    """Runs the rows that the first epoch will run, cut the same way, so that its first ratio is exactly 1.

    Log-probs come from this pass and not from the sampler: its kernels round differently.
    """
    device = learner.policy.device
    mask = answer_mask_of(pairs, device)
    logprobs, values, entropies = (torch.zeros(mask.shape, device=device) for _ in range(3))
    for micro in (micro for minibatch in minibatches for micro in minibatch):
        rows = torch.tensor(micro, device=device)
        packed = pack([pairs[i] for i in micro]).to(device)
        part = mask[rows]
        flat_logprobs, flat_entropies = packed_logprobs_and_entropies(learner.policy, packed, learner.temperature)
        logprobs[rows] = pad_answers(flat_logprobs, part)
        entropies[rows] = pad_answers(flat_entropies, part)
        values[rows] = pad_answers(learner.value(packed), part)
    ended = torch.tensor([int(pair.answer_ids[-1]) in stop_token_ids for pair in pairs], device=device)
    return Rollout(tuple(pairs), ended, mask, logprobs, values, entropies)
