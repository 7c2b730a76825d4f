"""Log-probs on a GPU: logits are read once, where `logsumexp` and its casts pass over them six times.

cuBLAS multiplies a tile of rows and vocabulary at a time, and a kernel reads it (online softmax, arXiv:1805.02867). Cut
Cross-Entropy (arXiv:2411.09009) takes the product into the kernel as well; without the copies between multiprocessors
that cuBLAS makes on Hopper, a product in Triton loses more there than a reading costs. To read a tile on a stream of
its own, while the next is multiplied, gained nothing on an H200.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import triton
from torch import Tensor

from ..tf32 import is_rounded, products
from .block_sums import BLOCK, sum_blocks

TILE_ROWS, TILE_COLUMNS = 8192, 8 * BLOCK
"""512 MiB of bf16 logits: smaller products are slower."""


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
    log_z, chosen = torch.empty(2, n, dtype=torch.float32, device=hidden.device)
    lefts = range(0, vocabulary, columns)
    firsts = [0, *accumulate(triton.cdiv(min(columns, vocabulary - left), BLOCK) for left in lefts)]
    buffer, rounded = hidden.new_empty(rows * columns), is_rounded(hidden)
    for top in range(0, n, rows):
        part = slice(top, min(top + rows, n))
        states, ids, own = hidden[part], token_ids[part], chosen[part]
        largest, total = torch.empty(2, len(states), firsts[-1], dtype=torch.float32, device=hidden.device)
        for left, first in zip(lefts, firsts, strict=False):
            right = min(left + columns, vocabulary)
            logits = buffer[: len(states) * (right - left)].view(-1, right - left)
            with products(hidden.device, rounded=rounded):
                torch.mm(states, weights[left:right].T, out=logits)
            sum_blocks(
                logits, largest, total, temperature, first_block=first,
                bias=None if bias is None else bias[left:right], softcap=softcap, chosen=(ids, left, own),
            )  # fmt: skip
        log_z[part] = total.log().add_(largest).logsumexp(1)
    return log_z, chosen
