"""Per-token rewards against TRL 1.12.0 and against arithmetic."""

from typing import Any

import pytest
import torch
from rewardplane.trainer.ppo.rewards import kl_penalized_rewards, replace_score_without_eos
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

NAN = float("nan")


def rewards_of(batch: dict[str, Tensor], kl_coef: float) -> Tensor:
    return kl_penalized_rewards(
        batch["scores"], batch["logprobs"], batch["ref_logprobs"], batch["answer_mask"], kl_coef
    )


def test_rewards_equal_trl(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    expected = golden["rewards"]
    assert_close(rewards_of(golden_batch, expected["kl_coef"]), torch.tensor(expected["rewards"]))


def test_ended_answers_are_scored_on_their_stop_token_and_not_one_later_as_in_trl(
    golden: dict[str, Any], golden_batch: dict[str, Tensor]
) -> None:
    # TRL's own placement is the first pad (huggingface/trl#3750). Rows 1, 2 and 5 fill the window, there is
    # no pad, and TRL puts the score where we do.
    trl = torch.tensor(golden["rewards"]["trl_unchanged"])
    ours = rewards_of(golden_batch, golden["rewards"]["kl_coef"])
    assert_close(ours[[1, 2, 5]], trl[[1, 2, 5]])
    for row, last in ((0, 3), (3, 0), (4, 5)):
        assert_close(ours[row, last] - trl[row, last], golden_batch["scores"][row])
        assert ours[row, last + 1] == 0.0
    assert_close(ours.sum(dim=1), trl.sum(dim=1))


def test_score_lands_on_the_last_real_token() -> None:
    mask = torch.tensor([[True, False, False], [True, True, False], [True, True, True]])
    zeros = torch.zeros(3, 3)
    rewards = kl_penalized_rewards(torch.tensor([5.0, 6.0, 7.0]), zeros, zeros, mask, 0.1)
    assert rewards.tolist() == [[5.0, 0.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 7.0]]


def test_tokens_likelier_than_under_the_reference_are_penalised() -> None:
    logprobs = torch.tensor([[-1.0, -2.0, -3.0]])
    ref_logprobs = torch.tensor([[-1.5, -1.0, -3.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    rewards = kl_penalized_rewards(torch.tensor([2.0]), logprobs, ref_logprobs, mask, 0.1)
    # -0.1 * (-1 + 1.5) = -0.05;  -0.1 * (-2 + 1) = 0.1;  -0.1 * 0 + 2 = 2
    assert_close(rewards, torch.tensor([[-0.05, 0.1, 2.0]]))


def test_rewards_of_an_answer_sum_to_score_minus_kl_coef_times_log_ratio(
    golden: dict[str, Any], golden_batch: dict[str, Tensor]
) -> None:
    # InstructGPT (arXiv:2203.02155) eq. 2 is written per answer, not per token.
    log_ratio_sum = torch.tensor(golden["kl"]["k1"]).sum(dim=1)
    assert_close(rewards_of(golden_batch, 0.3).sum(dim=1), golden_batch["scores"] - 0.3 * log_ratio_sum)


def test_policy_equal_to_reference_leaves_exactly_the_score(golden_batch: dict[str, Tensor]) -> None:
    batch = golden_batch | {"ref_logprobs": golden_batch["logprobs"]}
    assert torch.equal(rewards_of(batch, 0.05).sum(dim=1), golden_batch["scores"])


def test_score_of_zero_leaves_exactly_the_penalty(golden: dict[str, Any], golden_batch: dict[str, Tensor]) -> None:
    rewards = rewards_of(golden_batch | {"scores": torch.zeros(6)}, 0.05)
    assert_close(rewards, -0.05 * torch.tensor(golden["kl"]["k1"]))


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("filler", [0.0, 7.0, NAN])
def test_padding_by_more_columns_changes_nothing(golden_batch: dict[str, Tensor], columns: int, filler: float) -> None:
    wider = golden_batch | {
        "logprobs": pad(golden_batch["logprobs"], (0, columns), value=filler),
        "ref_logprobs": pad(golden_batch["ref_logprobs"], (0, columns), value=-filler),
        "answer_mask": pad(golden_batch["answer_mask"], (0, columns), value=False),
    }
    rewards = rewards_of(wider, 0.05)
    assert torch.equal(rewards[:, :8], rewards_of(golden_batch, 0.05))
    assert torch.equal(rewards[:, 8:], torch.zeros(6, columns))


def test_padding_is_zero_whatever_stands_there(golden_batch: dict[str, Tensor]) -> None:
    mask = golden_batch["answer_mask"]
    # log 0 - log 0 is not a number, and 0 times it is not one either.
    blocked = {k: golden_batch[k].masked_fill(~mask, -torch.inf) for k in ("logprobs", "ref_logprobs")}
    rewards = rewards_of(golden_batch | blocked, 0.05)
    assert torch.equal(rewards, rewards_of(golden_batch, 0.05))
    assert torch.equal(rewards[~mask], torch.zeros(int((~mask).sum())))


def test_answers_that_never_ended_get_the_missing_eos_score() -> None:
    scores = torch.tensor([0.7, 2.5, -3.0])
    ended = torch.tensor([True, False, False])
    # Replaced (arXiv:2403.17031), also where the score was lower still; TRL would subtract a penalty.
    assert_close(replace_score_without_eos(scores, ended, -1.0), torch.tensor([0.7, -1.0, -1.0]))
    assert scores.tolist() == pytest.approx([0.7, 2.5, -3.0]), "the caller's scores were overwritten"


def test_score_of_zero_is_kept() -> None:
    scores = torch.tensor([0.0, 0.0])
    ended = torch.tensor([True, False])
    assert replace_score_without_eos(scores, ended, -1.0).tolist() == [0.0, -1.0]


def test_missing_eos_score_of_zero_is_a_score() -> None:
    ended = torch.tensor([True, False])
    assert replace_score_without_eos(torch.tensor([3.0, 4.0]), ended, 0.0).tolist() == [3.0, 0.0]


def test_no_missing_eos_score_leaves_all_scores() -> None:
    ended = torch.tensor([True, False])
    assert replace_score_without_eos(torch.tensor([3.0, 4.0]), ended, None).tolist() == [3.0, 4.0]
