"""A forward pass over all answers of a rollout, micro-batch by micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rewardplane.modeling.packing import PackedPairs

from ..processes import Processes
from .microbatch import Minibatch
from .rollout import pad_answers


def over_answers(
    mask: Tensor,  # bool[B, A]
    minibatches: Sequence[Minibatch],
    forward: Callable[[PackedPairs], tuple[Tensor, ...]],
    processes: Processes,
    *,
    keep: bool,
) -> tuple[list[Tensor], Tensor | None]:  # float[B, A] each; [sum A]
    """What `forward` gives for every answer token, [sum A] a tensor, as rows; of all processes.

    With `keep` also the first tensor of the first micro-batch, with its graph.
    """
    results: list[Tensor] = []
    first: Tensor | None = None
    for number, micro in enumerate(micro for minibatch in minibatches for micro in minibatch):
        rows = torch.tensor(micro.rows, device=mask.device)
        with torch.set_grad_enabled(keep and number == 0):
            flat = forward(micro.packed)
        if keep and number == 0:
            first = flat[0]
        results = results or [x.new_zeros(mask.shape) for x in flat]
        for result, x in zip(results, flat, strict=True):
            if micro.weight:
                result[rows] = pad_answers(x.detach(), mask[rows])
    return [processes.add_up(result) for result in results], first  # each row is zero in all but one of them
