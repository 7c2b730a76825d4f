"""Log-probs over a large vocabulary: memory and time beside the matrix product alone."""

from __future__ import annotations

import torch
from gpu_parts.clock import extra_memory, in_turns
from result_file import Bar

from rewardplane.modeling.logprobs import chunk_bytes_on, token_logprobs

Rows = list[dict[str, object]]


@torch.inference_mode()
def log_probs(tokens: int, vocabulary: int, hidden: int, device: str) -> tuple[Rows, list[Bar]]:
    states = torch.randn(tokens, hidden, device=device, dtype=torch.bfloat16)
    unembedding = torch.randn(vocabulary, hidden, device=device, dtype=torch.bfloat16) / hidden**0.5
    ids = torch.randint(0, vocabulary, (tokens,), device=device)
    rows_at_once = max(1, chunk_bytes_on(device) // (4 * vocabulary))

    def ours() -> torch.Tensor:
        return token_logprobs(states, unembedding, ids)

    def product() -> None:
        for start in range(0, tokens, rows_at_once):
            states[start : start + rows_at_once] @ unembedding.T

    took = in_turns({"log-probs": ours, "matrix product": product}, device, rounds=3)
    memory = extra_memory(ours, device)
    rows: Rows = [
        {"case": f"{kind}, V = {vocabulary}, {tokens} tokens", "seconds": wall} for kind, wall in took.items()
    ]
    rows[0]["extra_bytes"] = memory
    ratio = took["log-probs"] / took["matrix product"]
    return rows, [
        Bar("log-probs: extra memory, GB", memory / 1e9, "at most 1"),
        Bar("log-probs: time / matrix product alone", ratio, "at most 1.1"),
    ]
