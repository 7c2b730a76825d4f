"""A frozen decoder of weights in bfloat16: float32 between its products, and the same bits in every batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_by_one import build, logprobs_alone, mixed_pairs, score_alone
from torch import Tensor, nn
from torch.testing import assert_close

from rewardplane.modeling import frozen_layers
from rewardplane.modeling.cpu_linear import linear_rounded, takes_rounded
from rewardplane.modeling.frozen import freeze
from rewardplane.modeling.frozen_decoder import FrozenDecoder
from rewardplane.modeling.fused.product import SUPPORTED, multiplies
from rewardplane.modeling.fused.registers import BFLOAT16
from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

pytestmark = pytest.mark.skipif(
    not (SUPPORTED and BFLOAT16), reason="needs a CPU with avx512_bf16 and no tiles (AMX), and numba"
)
FAMILIES = ["llama", "mistral", "qwen2"]


def served_model(family: str, *, causal: bool) -> nn.Module:
    whole = {"sliding_window": None} if family == "mistral" else {}
    model: nn.Module = build(family, causal=causal, dtype=torch.bfloat16, **whole).requires_grad_(False)
    freeze(model.base_model)
    return model


def outcomes(model: nn.Module, pairs: list[TokenPair], *, causal: bool) -> list[Tensor]:
    with torch.inference_mode():
        packed = pack(pairs, round_to=1)
        if causal:
            return list(packed_logprobs(model, packed).split(packed.answer_lengths))
        return list(packed_scores(model, packed).unbind())


@pytest.mark.parametrize("causal", [False, True], ids=["scores", "logprobs"])
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_nearer_to_float64_than_those_of_the_modules(family: str, causal: bool) -> None:
    pairs, alone = mixed_pairs(), logprobs_alone if causal else score_alone
    found = outcomes(served_model(family, causal=causal), pairs, causal=causal)
    whole = {"sliding_window": None} if family == "mistral" else {}
    theirs = build(family, causal=causal, dtype=torch.bfloat16, **whole)
    with torch.no_grad():
        modules = torch.cat([alone(theirs, pair).double().reshape(-1) for pair in pairs])
        expected = torch.cat([alone(theirs.double(), pair).double().reshape(-1) for pair in pairs])
    error = (torch.cat([x.double().reshape(-1) for x in found]) - expected).square().mean().sqrt()
    assert error < 0.8 * (modules - expected).square().mean().sqrt()
    assert error > 0  # it is not float32 that was compared


@pytest.mark.parametrize("causal", [False, True], ids=["scores", "logprobs"])
@pytest.mark.parametrize("threads", [1, 2])
def test_alone_and_in_a_batch_the_bits_are_the_same(
    threads: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen_layers, "WORTH_A_THREAD", 1)
    model, pairs = served_model("llama", causal=causal), mixed_pairs()
    expected = outcomes(model, pairs, causal=causal)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for number, pair in enumerate(pairs):
            assert torch.equal(outcomes(model, [pair], causal=causal)[0], expected[number])
        for found, known in zip(outcomes(model, pairs[::-1], causal=causal), expected[::-1], strict=True):
            assert torch.equal(found, known)
    finally:
        torch.set_num_threads(before)


def test_what_trains_and_what_is_not_known_is_left_to_torch() -> None:
    assert FrozenDecoder.of(build("qwen3", causal=False, dtype=torch.bfloat16).base_model) is None
    weight = torch.ones(40, 24, dtype=torch.bfloat16)
    assert takes_rounded(torch.ones(3, 24), weight)
    assert not takes_rounded(torch.ones(3, 24), weight.clone().requires_grad_())
    assert not takes_rounded(torch.ones(3, 24).bfloat16(), weight)
    assert not multiplies(torch.ones(40, 23, dtype=torch.bfloat16))  # whose inputs do not come in pairs


@pytest.mark.parametrize("outputs", [1, 31, 32, 33, 250])
@pytest.mark.parametrize("rows", [1, 11, 12, 13, 400])
def test_every_number_of_rows_and_outputs_is_that_of_float64(rows: int, outputs: int) -> None:
    random = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=random) for shape in ((rows, 34), (outputs, 34), (outputs,)))
    weight, bias = weight.bfloat16(), bias.bfloat16()
    expected = torch.nn.functional.linear(x.bfloat16().double(), weight.double(), bias.double())
    found = linear_rounded(x, weight, bias)
    assert found.dtype == torch.float32
    assert_close(found.double(), expected, atol=2e-5, rtol=0)
    assert_close(linear_rounded(x, weight).double(), expected - bias.double(), atol=2e-5, rtol=0)
    assert torch.equal(linear_rounded(x[rows // 2 :], weight, bias), found[rows // 2 :])


def test_kernels_round_as_torch_does() -> None:
    from numba import njit

    from rewardplane.modeling.fused.rounding import as_factors

    rounded = njit(lambda x, room: as_factors(x, room, 1, 3))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(4, 16, generator=random) * 10.0 ** torch.randint(-30, 30, (4, 16), generator=random)
    # Ties go to even: 1 + 2^-8 to 1, 1 + 3 * 2^-8 to 1 + 2^-6.
    x[1, :8] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 0.0, -0.0, torch.inf, -torch.inf, torch.nan, 3.4e38])
    room = np.zeros((4, 9), np.int32)
    assert rounded(x.numpy(), room) is not None
    found = torch.from_numpy(room).view(torch.bfloat16)
    assert_close(found[1:3, :16], x[1:3].bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert not found[[0, 3]].any()
    assert not found[:, 16:].any()
