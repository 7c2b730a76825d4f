"""Log-probs over a large vocabulary: memory and time beside the matrix product alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from gpu_parts.clock import extra_memory, in_turns, seconds
from result_file import Bar

from rewardplane.modeling.logprobs import token_logprobs

Records = Iterator[dict[str, object] | Bar]
PRODUCT_ROWS = 8192
"""Of the matrix product alone, which is slower in smaller pieces, and no quicker in larger ones."""


@torch.inference_mode()
def log_probs(tokens: int, vocabulary: int, hidden: int, device: str) -> Records:
    """Where no gradient is wanted."""
    states = torch.randn(tokens, hidden, device=device, dtype=torch.bfloat16)
    unembedding = torch.randn(vocabulary, hidden, device=device, dtype=torch.bfloat16) / hidden**0.5
    ids = torch.randint(0, vocabulary, (tokens,), device=device)

    def product() -> None:
        for rows in states.split(PRODUCT_ROWS):
            rows @ unembedding.T

    def head() -> torch.Tensor:
        return token_logprobs(states, unembedding, ids)

    took = in_turns({"head": head, "matrix product": product}, device)
    memory, ratio = extra_memory(head, device), took["head"] / took["matrix product"]
    yield {
        "case": f"log-probs, {tokens} tokens of {vocabulary}", "seconds": took["head"],
        "product_seconds": took["matrix product"], "extra_bytes": memory,
    }  # fmt: skip
    yield Bar("log-probs: extra memory, GB", memory / 1e9, "at most 1")
    yield Bar("log-probs: time / matrix product alone", ratio, "at most 1.1")


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
