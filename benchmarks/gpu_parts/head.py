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
    """Forward and backward in float32, and as PPO under autocast has it: tf32 on a GPU."""
    states, unembedding = (
        torch.randn(count, hidden, device=device).div_(hidden**0.25).requires_grad_() for count in (tokens, vocabulary)
    )
    ids = torch.randint(0, vocabulary, (tokens,), device=device)

    def step(autocast: bool) -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=autocast):
            logprobs = token_logprobs(states, unembedding, ids)
        logprobs.sum().backward()
        states.grad = unembedding.grad = None

    for name, autocast in (("float32", False), ("under autocast", True)):
        yield {
            "case": f"head of {tokens} answer tokens, forward and backward, {name}",
            "seconds": seconds(lambda autocast=autocast: step(autocast), device, rounds=3, warm_up=1),
        }
