"""The kernel that reads logits once gives what a float64 softmax of all logits gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from triton_device import DEVICE, INTERPRETED, needs_triton

from rewardplane.modeling.logprobs import token_logprobs

pytestmark = needs_triton
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"softcap": 3.0},
    {"bias": True, "softcap": 30.0, "temperature": 2.5},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s) or "plain")
@pytest.mark.parametrize("tile", [(4, 16), (9, 41), (5, 7)], ids=str)
def test_equals_the_softmax_of_all_logits(settings: dict[str, Any], tile: tuple[int, int]) -> None:
    from rewardplane.modeling.cuda.logprobs import read_once

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
    from rewardplane.modeling.cuda.logprobs import read_once

    random = torch.Generator().manual_seed(1)
    rows, vocabulary = (6, 5000) if INTERPRETED else (3000, 130_001)
    hidden = torch.randn(rows, 64, generator=random).to(DEVICE, torch.bfloat16)
    unembedding = (0.3 * torch.randn(vocabulary, 64, generator=random)).to(DEVICE, torch.bfloat16)
    ids = torch.randint(vocabulary, (rows,), generator=random).to(DEVICE)
    log_z, chosen = read_once(hidden, unembedding, ids)
    expected = token_logprobs(hidden.requires_grad_(), unembedding, ids).detach()
    # A product of another shape may round otherwise.
    torch.testing.assert_close(chosen - log_z, expected, atol=2e-2, rtol=0)
