"""Log-probs on a GPU: logits are read once, where `logsumexp` and its casts pass over them six times.

cuBLAS multiplies a tile of rows and vocabulary at a time, small enough to lie in the L2 cache, and a kernel (Triton)
adds the tile to a running log-sum-exp (online softmax, arXiv:1805.02867). Cut Cross-Entropy (arXiv:2411.09009) takes
the product into the kernel as well; without the copies between multiprocessors that cuBLAS makes on Hopper, a product
in Triton loses more there than one reading of a tile from L2.

Nobody has measured this on a GPU yet: it runs where it is asked for. Importing this module needs triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE_ROWS, TILE_COLUMNS = 4096, 4096
"""32 MiB of bf16 logits."""
LOGITS_AT_ONCE = 4096
"""Logits that a program holds in registers."""


@torch.no_grad()
def read_once(
    hidden: Tensor,  # [N, d]
    unembedding: Tensor,  # [V, d]
    token_ids: Tensor,  # int64[N]
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,  # [V]
    softcap: float | None = None,
    tile: tuple[int, int] = (TILE_ROWS, TILE_COLUMNS),
) -> tuple[Tensor, Tensor]:  # float32[N], float32[N]
    """As `logprobs.normaliser_and_chosen`: products in the type of the states, everything after in float32."""
    n, vocabulary = hidden.shape[0], unembedding.shape[0]
    rows, columns = min(tile[0], n), min(tile[1], vocabulary)
    weights = unembedding.to(hidden.dtype)
    largest = hidden.new_full((n,), -torch.inf, dtype=torch.float32)
    total, chosen = torch.zeros_like(largest), torch.zeros_like(largest)
    buffer = hidden.new_empty(rows * columns)
    for top in range(0, n, rows):
        part = slice(top, min(top + rows, n))
        states, ids, m, s, own = hidden[part], token_ids[part], largest[part], total[part], chosen[part]
        for left in range(0, vocabulary, columns):
            right = min(left + columns, vocabulary)
            logits = buffer[: len(states) * (right - left)].view(-1, right - left)
            torch.mm(states, weights[left:right].T, out=logits)
            _add_tile[(len(states),)](
                logits, ids, m, s, own,
                logits if bias is None else bias[left:], left, right - left, 1.0 / temperature, softcap or 1.0,
                has_bias=bias is not None, has_cap=softcap is not None,
                block=min(LOGITS_AT_ONCE, triton.next_power_of_2(right - left)), num_warps=8,
            )  # fmt: skip
    return largest + total.log(), chosen


@triton.jit
def _logit(z, at, seen, bias, inverse_temperature, cap, has_bias: tl.constexpr, has_cap: tl.constexpr):  # type: ignore[no-untyped-def]
    z = z.to(tl.float32)
    if has_bias:
        z += tl.load(bias + at, mask=seen, other=0.0).to(tl.float32)
    if has_cap:  # cap * tanh(z / cap)
        z = cap * (2.0 * tl.sigmoid(2.0 * z / cap) - 1.0)
    return z * inverse_temperature


@triton.jit
def _add_tile(  # type: ignore[no-untyped-def]
    logits,  # [rows, columns]
    token_ids,  # int64[rows]
    largest,  # float32[rows]  so far
    total,  # float32[rows]  sum of exp(logit - largest), so far
    chosen,  # float32[rows]
    bias,  # [columns]
    first,  # token that the first column stands for
    columns,
    inverse_temperature,
    cap,
    has_bias: tl.constexpr,
    has_cap: tl.constexpr,
    block: tl.constexpr,
):
    """A program for each row."""
    row = tl.program_id(0)
    logits += row.to(tl.int64) * columns
    m = tl.load(largest + row)
    s = tl.load(total + row)
    for start in range(0, columns, block):
        at = start + tl.arange(0, block)
        seen = at < columns
        z = tl.load(logits + at, mask=seen, other=0.0)
        z = _logit(z, at, seen, bias, inverse_temperature, cap, has_bias, has_cap)
        z = tl.where(seen, z, float("-inf"))
        higher = tl.maximum(m, tl.max(z, 0))
        s = s * tl.exp(m - higher) + tl.sum(tl.exp(z - higher), 0)
        m = higher
    tl.store(largest + row, m)
    tl.store(total + row, s)
    own = tl.load(token_ids + row) - first
    here = (own >= 0) & (own < columns)
    z = tl.load(logits + own, mask=here, other=0.0)
    z = _logit(z, own, here, bias, inverse_temperature, cap, has_bias, has_cap)
    tl.store(chosen + row, z, mask=here)
