"""Chunked log-probs beside the float64 softmax of all logits: values, gradients, entropies and memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from rewardplane.modeling.logprobs import token_logprobs, token_logprobs_and_entropies


@dataclass(frozen=True)
class Problem:
    hidden: Tensor  # [N, d]
    unembedding: Tensor  # [V, d]
    token_ids: Tensor  # [N]
    temperature: float = 1.0
    extras: dict[str, Any] = field(default_factory=dict)

    def logprobs(self, **options: Any) -> Tensor:
        return token_logprobs(self.hidden, self.unembedding, self.token_ids, self.temperature, **self.extras, **options)

    def full(self) -> Tensor:  # float64[N, V]
        """log_softmax of every logit, by torch alone."""
        logits = self.hidden.double() @ self.unembedding.double().T
        if "bias" in self.extras:
            logits = logits + self.extras["bias"].double()
        if "softcap" in self.extras:
            logits = self.extras["softcap"] * torch.tanh(logits / self.extras["softcap"])
        return (logits / self.temperature).log_softmax(-1)

    def expected(self) -> Tensor:  # float64[N]
        return self.full().gather(1, self.token_ids[:, None])[:, 0]

    def leaves(self) -> list[Tensor]:
        return [self.hidden, self.unembedding, *(v for v in self.extras.values() if isinstance(v, Tensor))]


def problem(dtype: torch.dtype = torch.float32, rows: int = 37, **settings: Any) -> Problem:
    """Logits with a standard deviation of 2 over 101 tokens."""
    random = torch.Generator().manual_seed(0)
    extras = dict(settings)
    temperature = extras.pop("temperature", 1.0)
    if extras.pop("bias", False):
        extras["bias"] = torch.randn(101, generator=random).to(dtype)
    one = Problem(
        torch.randn(rows, 16, generator=random).to(dtype),
        torch.randn(101, 16, generator=random).mul(0.5).to(dtype),
        torch.randint(101, (rows,), generator=random),
        temperature,
        extras,
    )
    for leaf in one.leaves():
        leaf.requires_grad_()
    return one


SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7},
    {"temperature": 2.5},
    {"softcap": 3.0},
    {"bias": True},
    {"bias": True, "softcap": 3.0, "temperature": 0.7},
]
EVERY_SETTING = pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(s) or "plain")


@EVERY_SETTING
def test_equals_the_softmax_of_all_logits(settings: dict[str, Any]) -> None:
    one = problem(**settings)
    logprobs = one.logprobs()
    assert logprobs.dtype == torch.float32
    assert_close(logprobs.double(), one.expected(), atol=1e-6, rtol=1e-6)


@EVERY_SETTING
def test_gradient_equals_autograd_of_the_full_softmax(settings: dict[str, Any]) -> None:
    one = problem(torch.float64, **settings)
    weights = torch.linspace(-1, 1, len(one.token_ids), dtype=torch.float64)
    expected = torch.autograd.grad((weights * one.expected()).sum(), one.leaves())
    for chunk_bytes in (1, 5 * 4 * 101, 1 << 20):  # one row, five rows, everything
        found = torch.autograd.grad((weights * one.logprobs(chunk_bytes=chunk_bytes)).sum(), one.leaves())
        assert_close(found, expected, atol=1e-12, rtol=1e-10)


def test_gradient_stays_out_of_what_is_frozen() -> None:
    one = problem()
    frozen = replace(one, unembedding=one.unembedding.detach())
    frozen.logprobs().sum().backward()
    assert_close(one.hidden.grad, torch.autograd.grad(one.expected().sum(), one.hidden)[0], atol=1e-5, rtol=1e-5)
    assert one.unembedding.grad is None


def test_chunk_sizes_change_nothing() -> None:
    one = problem(temperature=0.7, softcap=3.0)
    whole = token_logprobs_and_entropies(one.hidden, one.unembedding, one.token_ids, 0.7, softcap=3.0)
    for rows in (1, 2, 5, 36, 37, 38):
        parts = token_logprobs_and_entropies(
            one.hidden, one.unembedding, one.token_ids, 0.7, softcap=3.0, chunk_bytes=rows * 4 * 101
        )
        assert_close(parts, whole, atol=1e-6, rtol=0)


@EVERY_SETTING
def test_entropies_equal_the_sum_over_all_tokens(settings: dict[str, Any]) -> None:
    one = problem(**settings)
    logprobs, entropies = token_logprobs_and_entropies(
        one.hidden, one.unembedding, one.token_ids, one.temperature, **one.extras, chunk_bytes=7 * 4 * 101
    )
    full = one.full()
    assert_close(entropies.double(), -(full.exp() * full).sum(-1).detach(), atol=1e-5, rtol=0)
    assert torch.equal(logprobs, one.logprobs(chunk_bytes=7 * 4 * 101))
    assert logprobs.requires_grad
    assert not entropies.requires_grad


def test_equal_logits_by_hand() -> None:
    logprobs, entropies = token_logprobs_and_entropies(torch.zeros(2, 3), torch.ones(8, 3), torch.tensor([0, 7]))
    # all of 8 tokens have probability 1/8: ln(1/8) = -2.0794415 and an entropy of ln 8
    assert_close(logprobs, torch.full((2,), -2.0794415))
    assert_close(entropies, torch.full((2,), 2.0794415))


def test_huge_logits_stay_finite() -> None:
    logprobs, entropies = token_logprobs_and_entropies(
        torch.tensor([[1e4], [1e4]]), torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    )
    # logits 10,000 and -10,000: the first token is certain, the second has ln p = -20,000
    assert logprobs.tolist() == [0.0, -20_000.0]
    assert entropies.tolist() == [0.0, 0.0]


def test_under_autocast_logits_are_float32() -> None:
    one = problem()
    with torch.autocast("cpu", torch.bfloat16):
        logprobs = one.logprobs()
    assert_close(logprobs.double(), one.expected(), atol=1e-6, rtol=1e-6)


def test_no_rows() -> None:
    one = problem(rows=0)
    assert one.logprobs().shape == (0,)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        problem(temperature=temperature).logprobs()


MEASURE = """
import torch
from rewardplane.modeling.logprobs import token_logprobs_and_entropies

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

hidden, unembedding = torch.randn(1024, 8, requires_grad=True), torch.randn(128256, 8, requires_grad=True)
small, _ = token_logprobs_and_entropies(hidden[:2], unembedding[:9], torch.arange(2))  # what is loaded once
small.sum().backward()
before = kilobytes("VmRSS:")
logprobs, _ = token_logprobs_and_entropies(hidden, unembedding, torch.arange(1024))
logprobs.sum().backward()
print((kilobytes("VmHWM:") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_stays_far_below_that_of_all_logits() -> None:
    measured = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, timeout=60)
    assert measured.returncode == 0, measured.stderr
    # All logits would be 1024 * 128,256 * 4 bytes = 525 MB, once for the forward and once for the backward.
    assert int(measured.stdout) < 300e6
