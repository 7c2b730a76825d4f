"""The one function that turns hidden states into log-probs, for server and trainer.

Log-probs are computed in chunks of rows, so that logits of [tokens, vocabulary] never exist; the backward
computes each chunk's logits again, unless there is but one chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .cpu_linear import linear, linear_rounded, takes_rounded
from .cuda.use import can_sum_products
from .fused.softmax import logprob_backward, normalisers
from .tf32 import is_rounded, products

CHUNK_BYTES = {"cpu": 64 << 20, "cuda": 256 << 20}
"""Bytes of float32 logits in one chunk. 256 to 1024 rows cost the least CPU; 64 rows cost 27-47 % more."""


def chunk_bytes_on(device: torch.device | str) -> int:
    return CHUNK_BYTES["cpu" if torch.device(device).type == "cpu" else "cuda"]


def token_logprobs(
    hidden: Tensor,  # [N, d]  states before each token
    unembedding: Tensor,  # [V, d]
    token_ids: Tensor,  # int64[N]
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,  # [V]
    softcap: float | None = None,
    chunk_bytes: int | None = None,
) -> Tensor:  # float32[N]  nats
    """ln p(token | state) of each row, with logits divided by `temperature` before the softmax."""
    if can_sum_products(hidden) and not torch.is_grad_enabled():
        log_z, chosen = normaliser_and_chosen(hidden, unembedding, token_ids, temperature, bias=bias, softcap=softcap)
        return chosen - log_z
    return _run(hidden, unembedding, token_ids, temperature, bias, softcap, chunk_bytes, entropies=False)[0]


def token_logprobs_and_entropies(
    hidden: Tensor,  # [N, d]
    unembedding: Tensor,  # [V, d]
    token_ids: Tensor,  # int64[N]
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    chunk_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:  # float32[N], float32[N]  nats
    """As `token_logprobs`, and the entropy of each row's distribution (without gradient)."""
    return _run(hidden, unembedding, token_ids, temperature, bias, softcap, chunk_bytes, entropies=True)


def _run(
    hidden: Tensor,
    unembedding: Tensor,
    token_ids: Tensor,
    temperature: float,
    bias: Tensor | None,
    softcap: float | None,
    chunk_bytes: int | None,
    *,
    entropies: bool,
) -> tuple[Tensor, Tensor]:
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, not {temperature}")
    rows = _chunk_rows(hidden, unembedding, chunk_bytes)
    result: tuple[Tensor, Tensor] = _ChunkedLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, unembedding, bias, token_ids, temperature, softcap, rows, entropies
    )
    return result


def normaliser_and_chosen(
    hidden: Tensor,  # [N, d]
    unembedding: Tensor,  # [V, d]  or some of its rows
    token_ids: Tensor,  # int64[N]
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    chunk_bytes: int | None = None,
) -> tuple[Tensor, Tensor]:  # float32[N], float32[N]
    """ln of the sum of the exponentiated logits, and the token's logit, which less the former is its log-prob.

    Without gradient.
    """
    if can_sum_products(hidden):
        from .cuda.logprobs import sum_products

        return sum_products(hidden, unembedding, token_ids, temperature, bias=bias, softcap=softcap)
    log_z = hidden.new_empty(hidden.shape[0], dtype=_precise(hidden.dtype))
    chosen = torch.empty_like(log_z)
    for rows in _chunks(len(hidden), _chunk_rows(hidden, unembedding, chunk_bytes)):
        logits = _logits(hidden[rows], unembedding, bias, temperature, softcap)
        log_z[rows], _ = normalisers(logits, entropies=False)
        chosen[rows] = logits.gather(-1, token_ids[rows, None])[:, 0]
        del logits  # before the next chunk's are there
    return log_z, chosen


def _chunks(rows: int, chunk_rows: int) -> Iterator[slice]:
    yield from (slice(start, start + chunk_rows) for start in range(0, rows, chunk_rows))


def _chunk_rows(hidden: Tensor, unembedding: Tensor, chunk_bytes: int | None) -> int:
    return max(1, (chunk_bytes or chunk_bytes_on(hidden.device)) // (4 * unembedding.shape[0]))


def _logits(
    hidden: Tensor, unembedding: Tensor, bias: Tensor | None, temperature: float, softcap: float | None
) -> Tensor:
    # From the product on float32 is the least. torch rounds a product of bf16 weights to bf16: log-probs are then off
    # by 4e-3 nats on average, and by 2e-2 at most.
    with products(hidden.device, rounded=is_rounded(hidden)):
        if takes_rounded(hidden, unembedding):
            logits = linear_rounded(hidden, unembedding, bias)
        else:
            logits = linear(hidden, unembedding.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype))
    logits = logits.to(_precise(logits.dtype))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits if temperature == 1.0 else logits / temperature


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        unembedding: Tensor,
        bias: Tensor | None,
        token_ids: Tensor,
        temperature: float,
        softcap: float | None,
        chunk_rows: int,
        want_entropies: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, unembedding, bias, token_ids)
        ctx.temperature, ctx.softcap, ctx.rows = temperature, softcap, chunk_rows
        ctx.rounded = is_rounded(hidden)
        keep = hidden.shape[0] <= chunk_rows and any(ctx.needs_input_grad)
        ctx.only_logits = None
        logprobs = hidden.new_empty(hidden.shape[0], dtype=_precise(hidden.dtype))
        log_z = torch.empty_like(logprobs)
        entropies = torch.empty_like(logprobs) if want_entropies else logprobs.new_empty(0)
        for rows in _chunks(len(hidden), ctx.rows):
            logits = _logits(hidden[rows], unembedding, bias, temperature, softcap)
            ctx.only_logits = logits if keep else None
            log_z[rows], entropy = normalisers(logits, entropies=want_entropies)
            if entropy is not None:
                entropies[rows] = entropy
            logprobs[rows] = logits.gather(-1, token_ids[rows, None])[:, 0] - log_z[rows]
            del logits  # before the next chunk's are there
        ctx.log_z = log_z
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, unembedding, bias, token_ids = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(unembedding, dtype=_precise(unembedding.dtype)) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=_precise(bias.dtype)) if needs_bias and bias is not None else None
        for rows in _chunks(len(hidden), ctx.rows):
            with products(hidden.device, rounded=ctx.rounded):
                logits = ctx.only_logits
                if logits is None:
                    logits = _logits(hidden[rows], unembedding, bias, ctx.temperature, ctx.softcap)
                grad_logits = logprob_backward(logits, ctx.log_z[rows], token_ids[rows], grad[rows], ctx.temperature)
                if ctx.softcap is not None:  # d cap(z) / dz = 1 - tanh^2
                    grad_logits.mul_(1 - (logits * ctx.temperature / ctx.softcap).square_())
                grad_logits = grad_logits.to(hidden.dtype)
                if grad_hidden is not None:
                    grad_hidden[rows] = grad_logits @ unembedding.to(hidden.dtype)
                if grad_weight is not None:
                    grad_weight += grad_logits.T @ hidden[rows]
                if grad_bias is not None:
                    grad_bias += grad_logits.sum(0)
        return (
            grad_hidden,
            None if grad_weight is None else grad_weight.to(unembedding.dtype),
            None if grad_bias is None else grad_bias.to(bias.dtype),
            None, None, None, None, None,
        )  # fmt: skip
