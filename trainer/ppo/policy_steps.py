"""What an update does to the policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rewardplane.modeling.models import packed_logprobs
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair

from ..batches import turns
from .config import PpoConfig
from .kl import kl_k3
from .learner import PolicyLearner
from .losses import policy_loss, ptx_loss
from .microbatch import MicroBatch, Minibatch, answer_tokens
from .rollout import TrainingBatch, pad_answers
from .stats import clip_ratio, masked_mean

RATIO_DEVIATION = "ratio_deviation"


def policy_steps(
    learner: PolicyLearner,
    batch: TrainingBatch,
    steps: Sequence[Minibatch],
    pretraining: Iterator[Sequence[TokenPair]] | None,
    config: PpoConfig,
    update: int,
    first: Tensor | None = None,  # [sum A]  log-probs of the first minibatch, with their graph, where they are known
) -> list[dict[str, float]]:
    """Takes one optimizer step for each minibatch and its pretraining texts; gives the figures of each."""
    return [
        _step(learner, batch, minibatch, next(pretraining) if pretraining is not None else (), config, update, known)
        for minibatch, known in zip(steps, [first, *[None] * (len(steps) - 1)], strict=True)
    ]


def _step(
    learner: PolicyLearner,
    batch: TrainingBatch,
    minibatch: Minibatch,
    texts: Sequence[TokenPair],
    config: PpoConfig,
    update: int,
    known: Tensor | None,
) -> dict[str, float]:
    """Gradients of both terms add up over the micro-batches; then one clip and one step."""
    parts = [batch.select(micro.rows) for micro in minibatch]
    processes = learner.trained.processes
    num_tokens = answer_tokens(minibatch, parts, processes)
    figures = [
        _backward(learner, micro, part, config, num_tokens, known) for micro, part in zip(minibatch, parts, strict=True)
    ]
    deviation = max(figure.pop(RATIO_DEVIATION) for figure in figures)
    sums = {name: sum(figure[name] for figure in figures) for name in figures[0]}
    sums["ptx_loss"] = _backward_pretraining(learner, texts, config) if texts else 0.0
    every = processes.gather((sums, deviation))
    return {
        **{name: sum(own[name] for own, _ in every) for name in sums},
        "policy_grad_norm": learner.optimizer.step(update),
        RATIO_DEVIATION: max(deviation for _, deviation in every),
    }


def _backward(
    learner: PolicyLearner,
    micro: MicroBatch,
    part: TrainingBatch,
    config: PpoConfig,
    num_tokens: float,
    known: Tensor | None,
) -> dict[str, float]:
    mask = part.answer_mask
    flat = learner.run(packed_logprobs, micro.packed, learner.temperature) if known is None else known
    logprobs = pad_answers(flat, mask)
    loss = micro.weight * policy_loss(logprobs, part.old_logprobs, part.advantages, mask, config.clip_range, num_tokens)
    loss.backward()
    with torch.no_grad():
        share = micro.weight * float(mask.sum()) / num_tokens
        log_ratio = (logprobs - part.old_logprobs).masked_fill(~mask, 0.0)
        return {
            "policy_loss": float(loss.detach()),
            "clip_ratio": share * float(clip_ratio(logprobs, part.old_logprobs, mask, config.clip_range)),
            # How far this step has moved: the KL of the sampling policy to the one being updated.
            "approx_kl": share * float(masked_mean(kl_k3(part.old_logprobs, logprobs), mask)),
            RATIO_DEVIATION: float((log_ratio.exp() - 1.0).abs().max()),
        }


def _backward_pretraining(learner: PolicyLearner, texts: Sequence[TokenPair], config: PpoConfig) -> float:
    """Gradients of the PTX term; gives this process's part of the loss without its coefficient, nats a token."""
    num_tokens = float(sum(len(text.answer_ids) for text in texts))
    processes, total = learner.trained.processes, 0.0
    costs = [len(text.answer_ids) + 1 for text in texts]
    for turn in turns(range(len(texts)), costs, config.micro_batch_tokens, processes.count)[processes.rank]:
        packed = pack([texts[i] for i in turn.rows]).to(learner.trained.device)
        # Pretraining text is no sample: temperature 1.
        loss = turn.weight * ptx_loss(learner.run(packed_logprobs, packed), num_tokens)
        (config.ptx_coef * loss).backward()
        total += float(loss.detach())
    return total
