"""On CPU in float32 a pair's result has the same bits whatever it is computed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from one_by_one import FAMILIES, build, ids
from torch import Tensor

from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

pytestmark = pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
    reason="needs AVX2 or AVX-512: oneDNN's kernels for older and other CPUs make no such promise",
)

Run = Callable[[Sequence[TokenPair]], Sequence[Tensor]]

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    **{family: {} for family in FAMILIES},
    # A bigger one, because matrix kernels differ by size; and one whose linear layers fill no vector register.
    "llama of 192 channels": {"hidden_size": 192, "intermediate_size": 500, "num_attention_heads": 6},
    "llama of odd widths": {"hidden_size": 48, "intermediate_size": 55, "num_attention_heads": 6, "vocab_size": 333},
    "gpt2 of 192 channels": {"n_embd": 192},
}


def runner(name: str, *, causal: bool) -> Run:
    family = name.split(" ")[0]
    model = build(family, causal=causal, **CONFIGURATIONS[name])

    def run(pairs: Sequence[TokenPair]) -> Sequence[Tensor]:
        packed = pack(pairs)
        with torch.inference_mode():
            if causal:
                return packed_logprobs(model, packed).split(packed.answer_lengths)
            return packed_scores(model, packed).unbind()

    return run


def draw_64(seed: int = 0) -> list[TokenPair]:
    """Questions on both sides of 16 tokens, where sharing begins, each with four or five answers."""
    rng = np.random.default_rng(seed)
    questions = [ids(rng, n) for n in (1, 2, 7, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 70)]
    return [TokenPair(questions[i % len(questions)], ids(rng, int(rng.integers(1, 40)))) for i in range(64)]


@pytest.mark.parametrize("causal", [False, True], ids=["scores", "logprobs"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_alone_in_a_shuffled_batch_and_among_siblings(name: str, causal: bool) -> None:
    run = runner(name, causal=causal)
    pairs = draw_64()
    order = np.random.default_rng(1).permutation(len(pairs)).tolist()
    shuffled = dict(zip(order, run([pairs[i] for i in order]), strict=True))
    for question in range(14):
        siblings = list(range(question, len(pairs), 14))
        among = run([pairs[i] for i in siblings])
        for i, one in zip(siblings, among, strict=True):
            assert torch.equal(one, shuffled[i])
        assert torch.equal(run([pairs[question]])[0], shuffled[question])


def test_with_two_threads_only_attention_rounds_otherwise() -> None:
    run = runner("llama of 192 channels", causal=False)
    pairs = draw_64()
    expected = run(pairs)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together, alone = run(pairs), run(pairs[5:6])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone[0], together[5])
    torch.testing.assert_close(list(together), list(expected), atol=1e-5, rtol=0)


def test_a_pair_twice_in_a_batch() -> None:
    pair = draw_64()[12]
    first, second = runner("llama", causal=False)([pair, TokenPair(pair.question_ids.copy(), pair.answer_ids.copy())])
    assert torch.equal(first, second)


def test_tokens_that_come_later_change_no_logprob_before_them() -> None:
    rng = np.random.default_rng(2)
    run = runner("llama", causal=True)
    question, answer, other = ids(rng, 20), ids(rng, 9), ids(rng, 30)
    # One answer begins another: in the same batch, and their first tokens have the same log-probs but for rounding.
    short, long = run([TokenPair(question, answer), TokenPair(question, np.concatenate([answer, other]))])
    torch.testing.assert_close(short, long[:9], atol=1e-6, rtol=0)
