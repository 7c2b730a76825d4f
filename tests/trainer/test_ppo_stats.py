"""PPO's diagnostics against TRL 1.12.0 and arithmetic: padding takes no part in any of them."""

from typing import Any

import pytest
import torch
from rewardplane.trainer.ppo.stats import clip_ratio, explained_variance, masked_mean
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close


def test_masked_mean_equals_trl(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    advantages = torch.tensor(golden["gae"][0]["advantages"])
    mean = masked_mean(advantages, golden_batch["answer_mask"])
    assert float(mean) == pytest.approx(golden["whiten"]["mean"], rel=1e-5)


def test_masked_mean_by_hand() -> None:
    # Over all tokens of the batch, not a mean of row means: (1 + 2 + 6) / 3 = 3
    x = torch.tensor([[1.0, 2.0], [6.0, 99.0]])
    assert float(masked_mean(x, torch.tensor([[True, True], [True, False]]))) == 3.0


def test_clip_ratio_equals_trl(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    expected = golden["clip_ratio"]
    logprobs, old_logprobs = golden_batch["new_logprobs"], golden_batch["logprobs"]
    clipped = clip_ratio(logprobs, old_logprobs, golden_batch["answer_mask"], expected["clip_range"])
    assert float(clipped) == pytest.approx(expected["clip_ratio"], rel=1e-5)  # 22 of 35 tokens


def test_clip_ratio_counts_both_sides_of_the_range() -> None:
    ratios = torch.tensor([[0.7, 0.9, 1.1, 1.3, 5.0]])  # the last one is padding
    mask = torch.tensor([[True, True, True, True, False]])
    assert float(clip_ratio(ratios.log() - 1.0, torch.full((1, 5), -1.0), mask, 0.2)) == 0.5


@pytest.mark.parametrize("clip_range", [0.2, 1e-6])
def test_ratio_of_exactly_one_clips_nothing(golden_batch: dict[str, Tensor], clip_range: float) -> None:
    logprobs = golden_batch["logprobs"]
    assert float(clip_ratio(logprobs, logprobs, golden_batch["answer_mask"], clip_range)) == 0.0


def test_explained_variance_by_hand() -> None:
    # residuals 0 0 0 1: variance 1/4 - 1/16 = 3/16; returns 1 2 3 5: variance 39/4 - 121/16 = 35/16
    values, returns = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    explained = explained_variance(values, returns, torch.ones(2, 2, dtype=torch.bool))
    assert float(explained) == pytest.approx(1 - 3 / 35, rel=1e-5)


def test_perfect_values_explain_all_and_constant_ones_nothing() -> None:
    returns, mask = torch.tensor([[1.0, -2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    assert float(explained_variance(returns, returns, mask)) == 1.0
    assert float(explained_variance(torch.zeros(1, 3), returns, mask)) == pytest.approx(0.0, abs=1e-6)


def test_a_constant_offset_explains_all() -> None:
    # 1 - Var(returns - values) / Var(returns), and not the mean square error of Ziegler's var_explained.
    returns, mask = torch.tensor([[1.0, -2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    assert float(explained_variance(returns + 8.0, returns, mask)) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("filler", [0.0, 20.0])
def test_padding_by_more_columns_changes_nothing(
    golden: dict[str, Any], golden_batch: dict[str, Tensor], filler: float
) -> None:
    def widen(x: Tensor) -> Tensor:
        return pad(x, (0, 3), value=filler)

    old, new = golden_batch["logprobs"], golden_batch["new_logprobs"]
    values, returns = golden_batch["values"], torch.tensor(golden["gae"][0]["returns"])
    mask = golden_batch["answer_mask"]
    wide_mask = pad(mask, (0, 3), value=False)
    for ours, expected in [
        (masked_mean(widen(values), wide_mask), masked_mean(values, mask)),
        (clip_ratio(widen(new), widen(-old), wide_mask, 0.2), clip_ratio(new, -old, mask, 0.2)),
        (
            explained_variance(widen(values), widen(-returns), wide_mask),
            explained_variance(values, -returns, mask),
        ),
    ]:
        assert_close(torch.as_tensor(ours), torch.as_tensor(expected))
