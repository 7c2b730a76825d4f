"""The CPU kernels between matrix products: what they compute, and where they keep out."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from one_by_one import build
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from rewardplane.modeling.fused.norm import fuse_norms, rms_norm
from rewardplane.modeling.fused.rotary import rotated
from rewardplane.modeling.fused.rows import over_rows, rows_of
from rewardplane.modeling.fused.softmax import logprob_backward, normalisers
from rewardplane.modeling.fused.swiglu import fuse_swiglu, swiglu

ROWS = 700
"""Several blocks of 256, and a rest."""
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-8}
"""Of the largest number: some roundings of float32, and one of bfloat16."""
EPS = 1e-5

Function = Callable[..., Tensor]


def norm_by_formula(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / (x.square().mean(-1, keepdim=True) + EPS).sqrt()


def swiglu_by_formula(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def draw(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    assert (found.double() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("kernel", "formula", "shapes"),
    [
        (lambda x, w: rms_norm(x, w, EPS), norm_by_formula, ((ROWS, 72), (72,))),
        (lambda x, w: F.rms_norm(x, w.shape, w, EPS), norm_by_formula, ((ROWS, 72), (72,))),
        (swiglu, swiglu_by_formula, ((ROWS, 55), (ROWS, 55))),
    ],
    ids=["rms_norm", "torch's, which GPUs run", "swiglu"],
)
def test_values_and_gradients_are_those_of_the_formula_in_float64(
    kernel: Function, formula: Function, shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype
) -> None:
    inputs = [draw(*shape, dtype=dtype, seed=i).requires_grad_() for i, shape in enumerate(shapes)]
    precise = [x.detach().double().requires_grad_() for x in inputs]
    found, expected = kernel(*inputs), formula(*precise)
    assert_close(found, expected, dtype)
    upstream = draw(*found.shape, dtype=dtype, seed=9)
    mine = torch.autograd.grad(found, inputs, upstream)
    theirs = torch.autograd.grad(expected, precise, upstream.double())
    for gradient, formula_gradient in zip(mine, theirs, strict=True):
        assert_close(gradient, formula_gradient, dtype)
    with torch.no_grad():  # in place, without a graph: the same bits
        assert torch.equal(kernel(*(x.detach().clone() for x in inputs)), found)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_heads_are_turned_by_the_angles_of_their_token(dtype: torch.dtype) -> None:
    """Each pair of numbers is a complex number, and turning it is a product: RoFormer eq. 13."""
    batch, tokens, heads, width = 2, 300, 3, 10
    x = draw(batch, tokens, heads, width, dtype=dtype).requires_grad_()
    angles = draw(batch, tokens, width // 2, dtype=torch.float64, seed=1)
    cos, sin = (torch.cat([f(angles)] * 2, -1).to(dtype) for f in (torch.cos, torch.sin))
    turn = torch.complex(cos.double(), sin.double())[:, :, None, : width // 2]

    def turned(numbers: Tensor, by: Tensor) -> Tensor:
        whole = torch.complex(*numbers.detach().double().chunk(2, -1)) * by
        return torch.cat([whole.real, whole.imag], -1)

    found = rotated(x, cos, sin)
    assert_close(found, turned(x, turn), dtype)
    upstream = draw(*found.shape, dtype=dtype, seed=2)
    [grad] = torch.autograd.grad(found, x, upstream)
    assert_close(grad, turned(upstream, turn.conj()), dtype)
    with torch.no_grad():
        assert torch.equal(rotated(x.detach().clone(), cos, sin), found)


@pytest.mark.parametrize("causal", [False, True], ids=["scores", "logprobs"])
@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_family_runs_every_kernel(family: str, causal: bool) -> None:
    names = {type(module).__name__ for module in build(family, causal=causal).modules()}
    kernels = ("RMSNorm", "MLP", "SwiGLU") if family == "qwen3" else ("RMSNorm", "MLP", "SwiGLU", "DecoderLayer")
    assert (
        {name for name in names if name.endswith(kernels)}
        == {name for name in names if name.startswith("Fused")}
        != set()
    )
    family_module = import_module(f"transformers.models.{family}.modeling_{family}")
    assert hasattr(family_module.apply_rotary_pos_emb, "__wrapped__")


def test_a_norm_with_another_formula_is_left_alone() -> None:
    gemma = GemmaRMSNorm(16)  # x * (1 + weight)
    gemma.variance_epsilon = gemma.eps
    with torch.no_grad():
        gemma.weight.fill_(0.5)
    fuse_norms(gemma)
    assert type(gemma) is GemmaRMSNorm


def test_another_activation_is_left_alone() -> None:
    model = LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=16, hidden_act="gelu"))
    fuse_swiglu(model)
    assert type(model) is LlamaMLP


def test_float64_runs_as_transformers_wrote_it() -> None:
    theirs = LlamaRMSNorm(16).double()
    x = draw(5, 16, dtype=torch.float64)
    expected = theirs(x)
    fuse_norms(theirs)
    assert type(theirs) is not LlamaRMSNorm
    assert torch.equal(theirs(x), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_what_is_not_finite_is_not_lost(bad: float, dtype: torch.dtype) -> None:
    """A score that is not finite is an error; a kernel must not make it a number."""
    x, ones = draw(3, 64, dtype=dtype), torch.ones(3, 64, dtype=dtype)
    x[1, 5] = bad
    for found in (
        swiglu(x.clone(), ones),
        rms_norm(x, ones[0], EPS),
        rotated(x[None, :, None].clone(), ones[None], ones[None])[0, :, 0],
    ):
        assert found.isfinite().all(1).tolist() == [True, False, True]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("vocabulary", [5, 1024, 3001])
def test_log_probs_their_gradient_and_entropy_are_those_of_float64(vocabulary: int, temperature: float) -> None:
    raw = 4 * draw(40, vocabulary, dtype=torch.float32)
    ids = torch.randint(vocabulary, (40,), generator=torch.Generator().manual_seed(1))
    upstream = draw(40, dtype=torch.float32, seed=2)
    precise = raw.double().requires_grad_()
    expected = (precise / temperature).log_softmax(-1)
    chosen = expected.gather(1, ids[:, None])[:, 0]
    [slope] = torch.autograd.grad(chosen, precise, upstream.double())

    logits = raw / temperature
    log_z, entropies = normalisers(logits, entropies=True)
    assert entropies is not None
    assert_close(logits.gather(1, ids[:, None])[:, 0] - log_z, chosen, torch.float32)
    assert_close(entropies, -(expected.exp() * expected).sum(-1), torch.float32)
    assert_close(logprob_backward(logits, log_z, ids, upstream, temperature), slope, torch.float32)
    log_z_alone, _ = normalisers(logits[7:8].clone(), entropies=False)
    assert torch.equal(log_z_alone, log_z[7:8])


def test_logits_that_are_not_finite_give_no_number() -> None:
    logits = draw(4, 300, dtype=torch.float32)
    logits[1, 7], logits[2, 9] = float("nan"), float("inf")
    log_z, entropies = normalisers(logits, entropies=True)
    assert entropies is not None
    assert log_z.isfinite().tolist() == entropies.isfinite().tolist() == [True, False, False, True]


def test_a_token_without_probability_adds_nothing() -> None:
    logits = torch.tensor([[0.0, 0.0, float("-inf")]])
    assert normalisers(logits, entropies=False)[0].item() == pytest.approx(math.log(2.0), abs=1e-7)


def test_extreme_gates_are_zero_or_the_gate() -> None:
    gate = torch.tensor([[-1e30, -200.0, -88.0, 88.0, 200.0, 1e30]])
    found = swiglu(gate.clone(), torch.ones_like(gate))
    torch.testing.assert_close(found, F.silu(gate.double()).float(), rtol=1e-6, atol=1e-35)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_depend_on_the_row_alone(threads: int) -> None:
    x, weight = draw(3000, 256, dtype=torch.float32).requires_grad_(), draw(256, dtype=torch.float32).requires_grad_()
    alone = rms_norm(x[1717:1718], weight, EPS)
    whole = rms_norm(x, weight, EPS)
    assert torch.equal(whole[1717:1718], alone)
    gradients = torch.autograd.grad(whole.sum(), [x, weight])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = rms_norm(x, weight, EPS)
        assert torch.equal(again, whole)
        assert all(map(torch.equal, torch.autograd.grad(again.sum(), [x, weight]), gradients))
    finally:
        torch.set_num_threads(before)


def test_every_row_is_computed_once_by_any_number_of_threads() -> None:
    def count(rows: Any, first: int, end: int) -> None:
        rows[first:end] += 1

    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            for n in (1, 256, 1025, 5000):
                x = torch.zeros(n, 300)
                over_rows(count, rows_of(x))
                assert torch.equal(x, torch.ones_like(x))
    finally:
        torch.set_num_threads(before)


def test_an_error_of_another_thread_is_raised() -> None:
    def fail_late(rows: Any, first: int, end: int) -> None:
        if first:
            raise ValueError("late")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="late"):
            over_rows(fail_late, rows_of(torch.zeros(2000, 300)))
    finally:
        torch.set_num_threads(before)


def test_parameters_keep_their_names() -> None:
    model = nn.ModuleDict({"norm": LlamaRMSNorm(8)})
    names = list(model.state_dict())
    fuse_norms(model)
    assert list(model.state_dict()) == names
