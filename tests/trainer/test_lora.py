"""LoRA: what changes has the rank that was asked for, and what is saved is a plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.lora import LoraConfig, adapt, merge
from tiny_encoders import save_encoder
from tiny_models import make_model
from torch import Tensor
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from rewardplane.modeling.models import load_reward_model, pair_scores, prepare, score_head
from rewardplane.wire import TextPair, TokenPair

PAIRS = [TokenPair(list(range(20, 45)), [50 + i, 60, 1]) for i in range(4)]
RANK = 2


def weights(model: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def train_a_little(model: Any, pairs: list[TokenPair]) -> Tensor:
    """Scores after some steps."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        pair_scores(model, pairs).square().sum().backward()
        optimizer.step()
    with torch.no_grad():
        return pair_scores(model, pairs)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_matrices_change_by_the_rank_and_nothing_else_changes(family: str) -> None:
    model = make_model("reward", family)
    prepare(model)
    before, names = weights(model), [name for name, _ in model.named_modules()]
    adapt(model, LoraConfig(rank=RANK), head=score_head(model))
    trained = train_a_little(model, PAIRS)
    assert merge(model) is model
    after = weights(model)
    assert [name for name, _ in model.named_modules()] == names  # nothing of the adapters is left
    assert all(parameter.requires_grad for parameter in model.parameters())
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    head = "score.weight"
    assert head in changed
    assert len(changed) >= 1 + 2 * 4  # two layers of four or more matrices
    for name in changed - {head}:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-4) <= RANK
        assert "embed" not in name
        assert "wte" not in name
    with torch.no_grad():
        assert_close(pair_scores(model, PAIRS), trained, atol=1e-4, rtol=1e-4)


def test_an_encoder_is_adapted_too(tmp_path: Path) -> None:
    loaded = load_reward_model(save_encoder(tmp_path / "rm"), torch.float32)
    pairs = [loaded.encoder.encode(TextPair("Was it good?", answer)) for answer in ("Yes.", "No.", "So so.")]
    adapt(loaded.model, LoraConfig(rank=RANK, modules=("query", "value")), head=loaded.model.classifier)
    trained = train_a_little(loaded.model, pairs)
    merge(loaded.model)
    loaded.model.save_pretrained(tmp_path / "plain")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").eval()
    with torch.no_grad():
        assert_close(pair_scores(plain, pairs), trained, atol=1e-4, rtol=1e-4)


def test_training_starts_from_the_same_scores() -> None:
    model = make_model("reward")
    prepare(model)
    with torch.no_grad():
        before = pair_scores(model, PAIRS)
        adapt(model, LoraConfig(), head=score_head(model))
        assert_close(pair_scores(model, PAIRS), before, atol=1e-6, rtol=1e-6)  # B = 0


def test_adapters_are_a_function_of_the_seed() -> None:
    def adapters(seed: int) -> list[Tensor]:
        model = make_model("reward")
        adapt(model, LoraConfig(), seed=seed)
        return [p.detach().clone() for name, p in model.named_parameters() if "lora_A" in name]

    assert all(map(torch.equal, adapters(1), adapters(1)))
    assert not any(map(torch.equal, adapters(1), adapters(2)))


def test_modules_that_are_not_there_are_named() -> None:
    with pytest.raises(ConfigError, match=r"lora\.modules: .*no_such_layer"):
        adapt(make_model("reward"), LoraConfig(modules=("no_such_layer",)))


def test_without_a_configuration_every_weight_learns() -> None:
    model = make_model("reward")
    adapt(model, None)
    assert merge(model) is model
    assert all(parameter.requires_grad for parameter in model.parameters())
