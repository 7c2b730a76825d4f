"""Log-probs over a large vocabulary: memory and time beside the matrix product alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from gpu_parts.clock import extra_memory, in_turns, seconds
from result_file import Bar

from rewardplane.modeling.logprobs import chunk_bytes_on, token_logprobs

Records = Iterator[dict[str, object] | Bar]
TILES = ((2048, 128256), (4096, 4096), (8192, 8192), (16384, 2048))
"""Rows and columns of the logits that the kernel reads while they lie in the L2 cache, or do not."""


@torch.inference_mode()
def log_probs(tokens: int, vocabulary: int, hidden: int, device: str) -> Records:
    """Each way on its own first, in case a later one fails."""
    states = torch.randn(tokens, hidden, device=device, dtype=torch.bfloat16)
    unembedding = torch.randn(vocabulary, hidden, device=device, dtype=torch.bfloat16) / hidden**0.5
    ids = torch.randint(0, vocabulary, (tokens,), device=device)
    rows_at_once = max(1, chunk_bytes_on(device) // (4 * vocabulary))

    def product() -> None:
        for start in range(0, tokens, rows_at_once):
            states[start : start + rows_at_once] @ unembedding.T

    def chunked() -> torch.Tensor:
        return token_logprobs(states, unembedding, ids)

    yield from _measure("chunked", chunked, product, device)
    if device != "cuda":
        return
    from rewardplane.modeling.logprob_kernel import TILE_COLUMNS, TILE_ROWS, read_once

    default = (TILE_ROWS, TILE_COLUMNS)
    for tile in (default, *(tile for tile in TILES if tile != default)):

        def once(tile: tuple[int, int] = tile) -> torch.Tensor:
            log_z, chosen = read_once(states, unembedding, ids, tile=tile)
            return chosen - log_z

        name = "read-once" if tile == default else f"read-once, tiles of {tile[0]} x {tile[1]}"
        yield from _measure(name, once, product, device, is_default=tile == default)


def _measure(
    name: str, run: Callable[[], object], product: Callable[[], object], device: str, *, is_default: bool = True
) -> Records:
    took = in_turns({"head": run, "matrix product": product}, device, rounds=3)
    memory, ratio = extra_memory(run, device), took["head"] / took["matrix product"]
    yield {
        "case": f"log-probs, {name}", "seconds": took["head"], "product_seconds": took["matrix product"],
        "extra_bytes": memory,
    }  # fmt: skip
    if is_default:
        yield Bar(f"log-probs, {name}: extra memory, GB", memory / 1e9, "at most 1")
        yield Bar(f"log-probs, {name}: time / matrix product alone", ratio, "at most 1.1")


def trained(tokens: int, vocabulary: int, hidden: int, device: str) -> Records:
    """Forward and backward in float32, as PPO under autocast has it, and what rounding products to tf32 would gain."""
    states, unembedding = (
        torch.randn(count, hidden, device=device).div_(hidden**0.25).requires_grad_() for count in (tokens, vocabulary)
    )
    ids = torch.randint(0, vocabulary, (tokens,), device=device)

    def step() -> None:
        token_logprobs(states, unembedding, ids).sum().backward()
        states.grad = unembedding.grad = None

    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        name = "float32" if precision == "highest" else "tf32"
        yield {
            "case": f"head of {tokens} answer tokens, forward and backward, {name}",
            "seconds": seconds(step, device, rounds=3, warm_up=1),
        }
    torch.set_float32_matmul_precision("highest")
