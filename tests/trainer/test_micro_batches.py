"""Micro-batching and padding change no gradient: every loss is divided by the minibatch's token count."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from rewardplane.trainer.ppo.losses import policy_loss, ptx_loss, value_loss
from torch import Tensor
from torch.nn.functional import pad
from torch.testing import assert_close

LENGTHS = [9, 1, 4, 7, 2, 5]  # ragged: a mean of micro-batch means weighs a token of answer 1 nine times
NUM_TOKENS = sum(LENGTHS)
SPLITS = [[1, 1, 1, 1, 1, 1], [2, 2, 2], [1, 3, 2], [5, 1]]


class Minibatch(NamedTuple):
    """One PPO minibatch, float32, right-padded; what stands on padding is not zero."""

    features: Tensor  # [B, A, 3]  stands for the hidden states
    token_ids: Tensor  # [B, A]
    old_logprobs: Tensor  # [B, A]
    old_values: Tensor  # [B, A]
    advantages: Tensor  # [B, A]
    returns: Tensor  # [B, A]
    answer_mask: Tensor  # [B, A]


@pytest.fixture
def minibatch() -> Minibatch:
    generator = torch.Generator().manual_seed(5)
    shape = (len(LENGTHS), max(LENGTHS))

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    return Minibatch(
        features=normal(*shape, 3),
        token_ids=torch.randint(4, shape, generator=generator),
        old_logprobs=-1.4 + 0.5 * normal(*shape),
        old_values=0.5 * normal(*shape),
        advantages=normal(*shape),
        returns=normal(*shape),
        answer_mask=torch.arange(max(LENGTHS))[None, :] < torch.tensor(LENGTHS)[:, None],
    )


def policy_term(batch: Minibatch, weight: Tensor) -> Tensor:
    logits = batch.features @ weight  # a linear policy of 4 tokens
    logprobs = torch.log_softmax(logits, dim=-1).gather(-1, batch.token_ids[..., None])[..., 0]
    return policy_loss(logprobs, batch.old_logprobs, batch.advantages, batch.answer_mask, 0.2, NUM_TOKENS)


def value_term(batch: Minibatch, weight: Tensor) -> Tensor:
    values = batch.features @ weight[:, 0]
    return value_loss(values, batch.old_values, batch.returns, batch.answer_mask, 0.2, NUM_TOKENS)


def ptx_term(batch: Minibatch, weight: Tensor) -> Tensor:
    logprobs = torch.log_softmax(batch.features[batch.answer_mask] @ weight, dim=-1)[:, 0]
    return ptx_loss(logprobs, NUM_TOKENS)


Term = Callable[[Minibatch, Tensor], Tensor]
TERMS = pytest.mark.parametrize("term", [policy_term, value_term, ptx_term])


def loss_and_gradient(term: Term, micro_batches: list[Minibatch]) -> tuple[Tensor, Tensor]:
    """Accumulates the loss and its gradient over micro-batches, as one optimizer step does."""
    generator = torch.Generator().manual_seed(6)
    weight = torch.randn(3, 4, generator=generator).requires_grad_()
    total = torch.zeros(())
    for micro_batch in micro_batches:
        loss = term(micro_batch, weight)
        loss.backward()
        total = total + loss.detach()
    assert weight.grad is not None
    return total, weight.grad


@TERMS
@pytest.mark.parametrize("sizes", SPLITS)
def test_micro_batches_of_any_size_add_up_to_the_minibatch(minibatch: Minibatch, term: Term, sizes: list[int]) -> None:
    rows = torch.arange(len(LENGTHS)).split(sizes)
    # Each micro-batch is cut to its own longest answer, as it is in training.
    micro_batches = [Minibatch(*(x[r, : max(LENGTHS[i] for i in r)] for x in minibatch)) for r in rows]
    loss, gradient = loss_and_gradient(term, micro_batches)
    whole_loss, whole_gradient = loss_and_gradient(term, [minibatch])
    assert_close(loss, whole_loss)
    assert_close(gradient, whole_gradient)


@TERMS
def test_order_of_the_answers_changes_nothing(minibatch: Minibatch, term: Term) -> None:
    shuffled = Minibatch(*(x[[3, 0, 5, 1, 4, 2]] for x in minibatch))
    for ours, expected in zip(loss_and_gradient(term, [shuffled]), loss_and_gradient(term, [minibatch]), strict=True):
        assert_close(ours, expected)


@TERMS
@pytest.mark.parametrize("filler", [0.0, 20.0, -20.0])
def test_padding_by_more_columns_changes_nothing(minibatch: Minibatch, term: Term, filler: float) -> None:
    columns = 4
    wider = Minibatch(
        features=pad(minibatch.features, (0, 0, 0, columns), value=filler),
        token_ids=pad(minibatch.token_ids, (0, columns)),
        answer_mask=pad(minibatch.answer_mask, (0, columns), value=False),
        **{
            name: pad(getattr(minibatch, name), (0, columns), value=filler)
            for name in ("old_logprobs", "old_values", "advantages", "returns")
        },
    )
    for ours, expected in zip(loss_and_gradient(term, [wider]), loss_and_gradient(term, [minibatch]), strict=True):
        assert_close(ours, expected)


@TERMS
def test_what_stands_on_padding_changes_nothing(minibatch: Minibatch, term: Term) -> None:
    names = ("old_logprobs", "old_values", "advantages", "returns")
    refilled = {name: getattr(minibatch, name).masked_fill(~minibatch.answer_mask, 13.0) for name in names}
    for ours, expected in zip(
        loss_and_gradient(term, [minibatch._replace(**refilled)]),
        loss_and_gradient(term, [minibatch]),
        strict=True,
    ):
        assert_close(ours, expected)
