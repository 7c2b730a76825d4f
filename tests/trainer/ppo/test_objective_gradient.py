"""The gradient of a step, against one that transformers' own models and autograd make of the paper's formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ppo_gradients import one_step, ragged_pairs, relative_error, training_batch
from ppo_runs import NOWHERE, TEXTS, Models, read_config, settings
from rewardplane.trainer.ppo.config import PpoConfig
from rewardplane.trainer.ppo.microbatch import Rows
from rewardplane.trainer.ppo.pretraining import encode_texts
from rewardplane.trainer.ppo.setup import make_learner
from tiny_models import REWARD_OFFSET
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

TEMPERATURE = 0.7
PTX_COEF = 3.0
PAIRS = ragged_pairs(6)
BATCH = training_batch(PAIRS)
NUM_TOKENS = sum(len(pair.answer_ids) for pair in PAIRS)
MINIBATCH: tuple[Rows, ...] = ((2, 3), (4, 5, 0, 1))


def row(*parts: np.ndarray) -> Tensor:  # int64[1, T]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))[None]


def gradients(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def clipped_surrogate_gradient(model: torch.nn.Module) -> None:
    """PPO eq. 7, an answer at a time, averaged over tokens."""
    for i, pair in enumerate(PAIRS):
        length = len(pair.answer_ids)
        logits = model(row(pair.question_ids, pair.answer_ids)).logits[0, -length - 1 : -1] / TEMPERATURE
        logprobs = logits.log_softmax(-1)[torch.arange(length), row(pair.answer_ids)[0]]
        ratio = (logprobs - BATCH.old_logprobs[i, :length]).exp()
        advantages = BATCH.advantages[i, :length]
        gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        (-gain.sum() / NUM_TOKENS).backward()


def ptx_gradient(model: torch.nn.Module, sft: Path) -> None:
    """PTX_COEF times the mean of -ln p over tokens, by the loss that transformers itself computes."""
    tokenizer = AutoTokenizer.from_pretrained(sft)
    rows = [torch.tensor([[*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]) for text in TEXTS]
    predicted = [ids.shape[1] - 1 for ids in rows]
    for ids, n in zip(rows, predicted, strict=True):
        (PTX_COEF * model(ids, labels=ids).loss * n / sum(predicted)).backward()


@pytest.fixture
def transformers_policy(models: Models) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(models.sft, attn_implementation="eager")


@pytest.mark.parametrize("ptx_coef", [0.0, PTX_COEF])
def test_policy_gradient_is_the_sum_of_both_terms(
    tmp_path: Path, models: Models, transformers_policy: torch.nn.Module, ptx_coef: float
) -> None:
    overrides = {"sampling.temperature": TEMPERATURE, "policy_optimizer.max_grad_norm": 1e9}
    policy, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, overrides)))
    texts = encode_texts(TEXTS, policy.encoder, 64) if ptx_coef else None
    ours = one_step(learner, BATCH, MINIBATCH, PpoConfig(epochs=1, ptx_coef=ptx_coef), texts)
    clipped_surrogate_gradient(transformers_policy)
    if ptx_coef:
        alone = {name: gradient.clone() for name, gradient in gradients(transformers_policy).items()}
        ptx_gradient(transformers_policy, models.sft)
        assert relative_error(alone, gradients(transformers_policy)) > 0.1  # the second term is not lost in rounding
    assert relative_error(ours.policy, gradients(transformers_policy)) < 1e-5
    norm = torch.cat([g.flatten() for g in gradients(transformers_policy).values()]).norm()
    assert ours.figures["policy_grad_norm"] == pytest.approx(float(norm), rel=1e-5)


def test_value_gradient_is_that_of_the_reward_model_read_at_every_prefix(tmp_path: Path, models: Models) -> None:
    overrides = {"value_optimizer.max_grad_norm": 1e9}
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, overrides)))
    ours = one_step(learner, BATCH, MINIBATCH, PpoConfig(epochs=1))
    classifier = AutoModelForSequenceClassification.from_pretrained(models.reward, attn_implementation="eager")
    for i, pair in enumerate(PAIRS):
        for t in range(len(pair.answer_ids)):
            # The state before token t: the question and t tokens of the answer. Served scores have the offset off.
            value = classifier(row(pair.question_ids, pair.answer_ids[:t])).logits[0, 0] - REWARD_OFFSET
            old, target = BATCH.old_values[i, t], BATCH.returns[i, t]
            clipped = old + (value - old).clamp(-0.2, 0.2)
            (0.5 * torch.maximum((value - target) ** 2, (clipped - target) ** 2) / NUM_TOKENS).backward()
    renamed = {
        name.replace("backbone.", "model.").replace("head.", "score."): gradient
        for name, gradient in ours.value.items()
        if name != "head.bias"  # transformers' classifier has none
    }
    assert relative_error(renamed, gradients(classifier)) < 1e-5


def test_all_terms_share_one_clip_and_one_step(tmp_path: Path, models: Models) -> None:
    overrides = {"policy_optimizer.max_grad_norm": 0.01}
    policy, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, overrides)))
    texts = encode_texts(TEXTS, policy.encoder, 64)
    ours = one_step(learner, BATCH, MINIBATCH, PpoConfig(epochs=1, ptx_coef=PTX_COEF), texts)
    assert ours.figures["policy_grad_norm"] > 0.01
    assert float(torch.cat([g.flatten() for g in ours.policy.values()]).norm()) == pytest.approx(0.01, rel=1e-4)
