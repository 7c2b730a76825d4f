"""The packed linear layer beside F.linear, and what makes its packed weights stale."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from rewardplane.modeling.cpu_linear import PackedLinear, forget_packed_weights, linear, use_packed_linear
from rewardplane.modeling.packed_row import packed_row


def tensors(*shape: int, bias: bool = True, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor | None]:
    """x[*shape, 24], weight[40, 24], bias[40]; leaves that want gradients."""
    random = torch.Generator().manual_seed(0)
    x, w, b = (torch.randn(*s, generator=random).to(dtype).requires_grad_() for s in ((*shape, 24), (40, 24), (40,)))
    return x, w, b if bias else None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1,), (7,), (64,), (2, 5), (1, 300), (0,)])
def test_forward_and_backward_equal_f_linear(shape: tuple[int, ...], bias: bool) -> None:
    x, weight, b = tensors(*shape, bias=bias)
    leaves = [leaf for leaf in (x, weight, b) if leaf is not None]
    expected, found = F.linear(x, weight, b), linear(x, weight, b)
    assert_close(found, expected, atol=1e-5, rtol=1e-5)
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(expected, leaves, grad)
    assert_close(torch.autograd.grad(found, leaves, grad), wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 15, 16, 17, 31, 32, 33, 250])
@pytest.mark.parametrize("rows", [1, 5, 6, 7, 11, 12, 13, 200])
def test_every_number_of_rows_and_outputs_is_that_of_float64(rows: int, outputs: int) -> None:
    random = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=random) for shape in ((rows, 33), (outputs, 33), (outputs,)))
    expected = F.linear(x.double(), weight.double(), bias.double())
    assert_close(linear(x, weight, bias).double(), expected, atol=1e-5, rtol=0)
    assert_close(linear(x, weight).double(), expected - bias, atol=1e-5, rtol=0)


def test_a_nan_stays_in_its_row() -> None:
    x, weight, bias = torch.zeros(9, 24), torch.ones(40, 24), torch.ones(40)
    x[4, 7] = torch.nan
    found = linear(x, weight, bias)
    assert found[4].isnan().all()
    assert torch.equal(found[torch.arange(9) != 4], torch.ones(8, 40))


def test_what_is_frozen_gets_no_gradient() -> None:
    x, weight, bias = tensors(7)
    weight.requires_grad_(False)
    linear(x, weight, bias).sum().backward()
    assert weight.grad is None
    assert_close(x.grad, weight.sum(0).expand(7, 24))  # d(sum y) / dx is the sum of the weight's rows
    assert bias is not None
    assert_close(bias.grad, torch.full((40,), 7.0))


def test_views_are_read_as_they_are() -> None:
    x = torch.randn(24, 9).T  # not contiguous
    _, weight, bias = tensors(1)
    assert_close(linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
    reason="needs AVX2 or AVX-512: oneDNN's kernels for older and other CPUs make no such promise",
)
@pytest.mark.parametrize("width", [24, 55, 64])
def test_a_row_has_the_same_bits_alone_in_any_batch_and_with_two_threads(width: int) -> None:
    """And by frozen weights, which are packed, and by those that are trained."""
    random = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=random) for shape in ((1024, width), (40, width), (40,)))
    whole = linear(x, weight, bias)
    assert torch.equal(linear(x, weight.clone().requires_grad_(), bias), whole)
    weight.requires_grad_()
    for rows in (1, 2, 3, 17, 64, 100):
        assert torch.equal(linear(x[:rows], weight, bias), whole[:rows])
        assert torch.equal(linear(x[500 : 500 + rows], weight, bias), whole[500 : 500 + rows])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(linear(x, weight, bias), whole)
    finally:
        torch.set_num_threads(threads)


def test_inference_has_the_bits_of_training() -> None:
    x, weight, bias = tensors(100)
    with torch.inference_mode():
        served = linear(x, weight, bias)
    assert torch.equal(served, linear(x, weight, bias).detach())


def adamw(layer: nn.Linear) -> None:
    layer.weight.requires_grad_()
    layer.weight.grad = torch.ones_like(layer.weight)
    torch.optim.AdamW([layer.weight], lr=0.5, fused=True).step()  # which counts no new version of the weight


@torch.no_grad()
def change_in_place(layer: nn.Linear) -> None:
    layer.weight.mul_(2)


def load(layer: nn.Linear, *, assign: bool) -> None:
    layer.load_state_dict({"weight": torch.full((40, 24), 0.5)}, strict=False, assign=assign)


def add_to_data(layer: nn.Linear) -> None:
    layer.weight.data += 1  # how peft merges and unmerges an adapter


def change_data(layer: nn.Linear) -> None:
    layer.weight.data.mul_(2)  # how many initialisers write


def replace_data(layer: nn.Linear) -> None:
    layer.weight.data = torch.ones(40, 24)


def round_to_half(layer: nn.Linear) -> None:
    layer.bfloat16().float()  # nn.Module.to replaces the data of its parameters


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(adamw, id="adamw"),
        pytest.param(change_in_place, id="in place"),
        pytest.param(lambda layer: load(layer, assign=False), id="load_state_dict"),
        pytest.param(lambda layer: load(layer, assign=True), id="load_state_dict assign"),
        pytest.param(lambda layer: (add_to_data(layer), forget_packed_weights()), id="data +="),
        pytest.param(lambda layer: (change_data(layer), forget_packed_weights()), id="data.mul_"),
        pytest.param(replace_data, id="data ="),
        pytest.param(round_to_half, id="to bfloat16 and back"),
    ],
)
def test_a_changed_weight_is_packed_anew(change: Callable[[nn.Linear], None]) -> None:
    layer = nn.Linear(24, 40).requires_grad_(False)
    x = torch.randn(5, 24, generator=torch.Generator().manual_seed(0))
    before = linear(x, layer.weight).detach()
    change(layer)
    expected = F.linear(x, layer.weight)
    assert (expected - before).abs().max() > 1e-3
    assert_close(linear(x, layer.weight), expected, atol=1e-5, rtol=1e-5)


def test_a_changed_inference_weight_is_packed_anew() -> None:
    with torch.inference_mode():
        x, weight = torch.randn(5, 24), torch.randn(40, 24)
        linear(x, weight)
        weight.mul_(2)
        assert_close(linear(x, weight), F.linear(x, weight), atol=1e-5, rtol=1e-5)


def test_two_weights_that_follow_each_other_in_memory_are_told_apart() -> None:
    x = torch.randn(5, 24)
    for _ in range(20):
        weight = torch.randn(40, 24)  # likely at the address of the one before, which is gone
        assert_close(linear(x, weight), F.linear(x, weight), atol=1e-5, rtol=1e-5)


def test_autocast_computes_in_bfloat16_as_f_linear_does() -> None:
    x, weight, bias = tensors(7)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = linear(x, weight, bias), F.linear(x, weight, bias)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_torch(dtype: torch.dtype) -> None:
    x, weight, bias = tensors(7, dtype=dtype)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))


def test_layers_are_packed_in_packed_rows_only_and_keep_their_parameters() -> None:
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Sequential(nn.Linear(40, 24, bias=False)))
    names, parameters = zip(*model.named_parameters(), strict=True)
    x = torch.randn(5, 24)
    expected = model(x)
    use_packed_linear(model)
    assert [type(model[0]), type(model[2][0])] == [PackedLinear, PackedLinear]
    assert tuple(name for name, _ in model.named_parameters()) == names
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert torch.equal(model(x), expected)
    with packed_row():
        assert torch.equal(model[0](x), linear(x, model[0].weight, model[0].bias))
        assert_close(model(x), expected, atol=1e-5, rtol=1e-5)
