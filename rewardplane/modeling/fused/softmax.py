"""What log-probs need of a row of logits, in two passes over it, and their gradient in one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .rows import over_rows, rows_of, runs_fused


def normalisers(
    logits: Tensor,  # [N, V]
    *,
    entropies: bool,
) -> tuple[Tensor, Tensor | None]:  # [N], [N]
    """ln of the sum of the exponentiated logits of each row, and the entropy of its softmax in nats if it is wanted."""
    if not _runs_fused(logits):
        log_z = logits.logsumexp(-1)
        if not entropies:
            return log_z, None
        return log_z, log_z - ((logits - log_z[:, None]).exp_() * logits).sum(-1)  # H = ln Z - E[z]
    from .kernels import normalisers as kernel

    log_z, entropy = logits.new_empty(len(logits)), logits.new_empty(len(logits))
    # torch finds the largest in vectors, which a compiler that heeds NaN does not.
    over_rows(kernel, rows_of(logits), logits.amax(-1).numpy(), log_z.numpy(), entropy.numpy())
    return log_z, entropy if entropies else None


def logprob_backward(
    logits: Tensor,  # [N, V]  divided by the temperature
    log_z: Tensor,  # [N]
    token_ids: Tensor,  # int64[N]
    grad: Tensor,  # [N]  of the log-probs
    temperature: float,
) -> Tensor:  # [N, V]
    """The gradient of the logits before they were divided: d logp / d z = onehot - softmax."""
    if not _runs_fused(logits):
        result = logits.softmax(-1).mul_(-grad[:, None])
        result.scatter_add_(1, token_ids[:, None], grad[:, None])
        return result.div_(temperature)
    from .kernels import logprob_backward as kernel

    result = torch.empty_like(logits)
    ids, slopes = token_ids.numpy(), grad.contiguous().numpy()
    over_rows(kernel, rows_of(logits), log_z.numpy(), ids, slopes, np.float32(temperature), rows_of(result))
    return result


def _runs_fused(logits: Tensor) -> bool:
    return logits.dtype == torch.float32 and runs_fused(logits)
