"""The kernel that reads logits once gives what a float64 softmax of all logits gives.

It needs triton, and a CUDA device or triton's interpreter: TRITON_INTERPRET=1 (triton 3.6's with numpy < 2.3).
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest
import torch

from rewardplane.modeling.logprobs import normaliser_and_chosen

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("triton"), reason="needs triton"),
    pytest.mark.skipif(
        not (INTERPRETED or torch.cuda.is_available()), reason="needs one CUDA device, or TRITON_INTERPRET=1"
    ),
]
DEVICE = "cpu" if INTERPRETED else "cuda"
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"softcap": 3.0},
    {"bias": True, "softcap": 30.0, "temperature": 2.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s) or "plain")
@pytest.mark.parametrize("tile", [(4, 16), (9, 41), (5, 7)], ids=str)
def test_equals_the_softmax_of_all_logits(settings: dict[str, Any], tile: tuple[int, int]) -> None:
    from rewardplane.modeling.logprob_kernel import read_once

    random = torch.Generator().manual_seed(0)
    hidden, unembedding = torch.randn(9, 16, generator=random), torch.randn(41, 16, generator=random)
    ids = torch.randint(41, (9,), generator=random)
    bias = torch.randn(41, generator=random) if settings.get("bias") else None
    temperature, softcap = settings.get("temperature", 1.0), settings.get("softcap")
    logits = hidden.double() @ unembedding.double().T + (0.0 if bias is None else bias.double())
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits /= temperature
    log_z, chosen = read_once(
        hidden.to(DEVICE), unembedding.to(DEVICE), ids.to(DEVICE), temperature,
        bias=None if bias is None else bias.to(DEVICE), softcap=softcap, tile=tile,
    )  # fmt: skip
    tolerance = 1e-5 if INTERPRETED else 1e-2  # float32 products may be rounded to tf32 on a GPU
    torch.testing.assert_close(log_z.double().cpu(), logits.logsumexp(-1), atol=tolerance, rtol=0)
    torch.testing.assert_close(chosen.double().cpu(), logits.gather(1, ids[:, None])[:, 0], atol=tolerance, rtol=0)


def test_equals_the_chunked_sum_on_bf16_states() -> None:
    from rewardplane.modeling.logprob_kernel import read_once

    random = torch.Generator().manual_seed(1)
    rows, vocabulary = (6, 5000) if INTERPRETED else (3000, 130_001)
    hidden = torch.randn(rows, 64, generator=random).to(DEVICE, torch.bfloat16)
    unembedding = (0.3 * torch.randn(vocabulary, 64, generator=random)).to(DEVICE, torch.bfloat16)
    ids = torch.randint(vocabulary, (rows,), generator=random).to(DEVICE)
    found, expected = read_once(hidden, unembedding, ids), normaliser_and_chosen(hidden, unembedding, ids)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)  # a product of another shape may round otherwise
