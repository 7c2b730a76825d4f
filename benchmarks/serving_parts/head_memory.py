"""Memory and time of log-probs at a vocabulary of 128256: python head_memory.py chunked|full; prints JSON.

A process measures one of them once: what it allocates stays with it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from rewardplane.modeling.logprobs import token_logprobs
from rewardplane.process import keep_freed_memory

TOKENS, WIDTH, VOCABULARY = 4096, 256, 128256


def full_softmax(hidden: torch.Tensor, unembedding: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """As most code has it: all logits, their log-softmax, and one number of each row."""
    return torch.nn.functional.linear(hidden, unembedding).log_softmax(-1).gather(-1, ids[:, None])[:, 0]


def memory_bytes(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(what + ":"))


def main() -> None:
    keep_freed_memory()  # as servers and trainers do
    torch.set_num_threads(1)
    torch.manual_seed(0)
    hidden, unembedding = torch.randn(TOKENS, WIDTH), torch.randn(VOCABULARY, WIDTH) * WIDTH**-0.5
    ids = torch.randint(VOCABULARY, (TOKENS,))
    compute = token_logprobs if sys.argv[1] == "chunked" else full_softmax
    with torch.inference_mode():
        compute(hidden[:64], unembedding[:1000], ids[:64] % 1000)  # libraries are loaded, threads started
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here (proc(5))
        before, cpu_s = memory_bytes("VmRSS"), time.process_time()
        values = compute(hidden, unembedding, ids)
        cpu_s = time.process_time() - cpu_s
    print(
        json.dumps({
            "extra_bytes": memory_bytes("VmHWM") - before,
            "cpu_seconds": cpu_s,
            "sum": float(values.double().sum()),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
