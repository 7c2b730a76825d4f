"""Sums of logits that are never in memory give what a float64 softmax of all logits gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from triton_device import DEVICE, INTERPRETED, needs_triton

pytestmark = needs_triton
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"softcap": 3.0},
    {"bias": True, "softcap": 30.0, "temperature": 2.5},
    {"bias": True, "impossible": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s) or "plain")
@pytest.mark.parametrize("shape", [(9, 20, 41), (150, 40, 300), (130, 36, 256)], ids=str)
def test_equals_the_softmax_of_all_logits(settings: dict[str, Any], shape: tuple[int, int, int]) -> None:
    from rewardplane.modeling.cuda.logprobs import sum_products

    random = torch.Generator().manual_seed(0)
    rows, width, vocabulary = shape
    hidden, unembedding = (torch.randn(n, width, generator=random) for n in (rows, vocabulary))
    ids = torch.randint(vocabulary, (rows,), generator=random)
    bias = torch.randn(vocabulary, generator=random) if settings.get("bias") else None
    if settings.get("impossible"):
        bias[: vocabulary * 2 // 3] = float("-inf")
        ids = ids % (vocabulary // 3) + vocabulary * 2 // 3
    temperature, softcap = settings.get("temperature", 1.0), settings.get("softcap")
    logits = hidden.double() @ unembedding.double().T + (0.0 if bias is None else bias.double())
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    logits /= temperature
    log_z, chosen = sum_products(
        hidden.to(DEVICE), unembedding.to(DEVICE), ids.to(DEVICE), temperature,
        bias=None if bias is None else bias.to(DEVICE), softcap=softcap,
    )  # fmt: skip
    tolerance = 2e-5 if INTERPRETED else 5e-2  # float32 is rounded to tf32 on a GPU
    torch.testing.assert_close(log_z.double().cpu(), logits.logsumexp(-1), atol=tolerance, rtol=0)
    torch.testing.assert_close(chosen.double().cpu(), logits.gather(1, ids[:, None])[:, 0], atol=tolerance, rtol=0)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter multiplies bfloat16 wrongly")
def test_equals_a_float64_softmax_on_bf16_states() -> None:
    from rewardplane.modeling.cuda.logprobs import sum_products

    random = torch.Generator().manual_seed(1)
    hidden = torch.randn(3000, 64, generator=random).to(DEVICE, torch.bfloat16)
    unembedding = (0.3 * torch.randn(130_001, 64, generator=random)).to(DEVICE, torch.bfloat16)
    ids = torch.randint(130_001, (3000,), generator=random).to(DEVICE)
    log_z, chosen = sum_products(hidden, unembedding, ids)
    expected = (hidden.double() @ unembedding.double().T).log_softmax(-1).gather(1, ids[:, None])[:, 0]
    torch.testing.assert_close((chosen - log_z).double(), expected, atol=1e-4, rtol=0)
