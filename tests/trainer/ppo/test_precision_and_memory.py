"""What makes a large policy fit: bfloat16, layers that are computed again, adapters. The first ratio is still 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Configure
from ppo_gradients import one_step, ragged_pairs, training_batch
from ppo_runs import NOWHERE, Models, digests, figures, read_config, settings
from rewardplane.trainer.ppo import memory
from rewardplane.trainer.ppo.config import PpoConfig
from rewardplane.trainer.ppo.memory import Memory, does_not_fit
from rewardplane.trainer.ppo.setup import make_learner
from rewardplane.trainer.ppo.state import newest_state
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.recompute import _Recomputed, recompute_layers
from safetensors.torch import load_file
from tiny_encoders import save_encoder
from tiny_models import make_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from rewardplane.modeling.layers import layers_of
from rewardplane.modeling.models import load_reward_model, packed_logprobs, pair_scores, prepare
from rewardplane.modeling.packing import pack
from rewardplane.wire import TextPair

RANK = 2
SHORT: dict[str, Any] = {"evaluation.prompts": None}


def gradients_and_kept_bytes(model: Any) -> tuple[dict[str, Tensor], int]:
    """Of a packed forward and backward; bytes that autograd keeps in between."""
    kept = 0

    def count(x: Tensor) -> Tensor:
        nonlocal kept
        kept += x.nbytes
        return x

    packed = pack(ragged_pairs(8))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        total = packed_logprobs(model, packed).sum()
    total.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients, kept


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_layers_that_are_computed_again_give_the_same_gradient_from_less_memory(family: str) -> None:
    model = make_model("sft", family, **({"n_layer": 6} if family == "gpt2" else {"num_hidden_layers": 6}))
    prepare(model)
    expected, much = gradients_and_kept_bytes(model)
    recompute_layers(model)
    ours, little = gradients_and_kept_bytes(model)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    assert little < 0.5 * much


def test_layers_of_an_encoder_are_computed_again_too(tmp_path: Path) -> None:
    loaded = load_reward_model(save_encoder(tmp_path / "rm"), torch.float32)
    pairs = [loaded.encoder.encode(TextPair("Was it good?", answer)) for answer in ("Yes.", "No.", "So so.")]
    grads = []
    for again in (False, True):
        if again:
            recompute_layers(loaded.model)
        pair_scores(loaded.model, pairs).sum().backward()
        grads.append({name: p.grad.clone() for name, p in loaded.model.named_parameters() if p.grad is not None})
        loaded.model.zero_grad()
    assert all(torch.equal(grads[1][name], grads[0][name]) for name in grads[0])


def test_a_ppo_step_has_the_same_bits_when_layers_are_computed_again(tmp_path: Path, models: Models) -> None:
    steps = []
    for again in (False, True):
        _, learner = make_learner(
            read_config(tmp_path, settings(tmp_path, models, NOWHERE, {"gradient_checkpointing": again}))
        )
        batch = training_batch(ragged_pairs(12))
        steps.append(one_step(learner, batch, (tuple(range(4)), tuple(range(4, 12))), PpoConfig(epochs=1)))
    for ours, expected in ((steps[1].policy, steps[0].policy), (steps[1].value, steps[0].value)):
        assert all(torch.equal(ours[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("tokens", "again"), [(64, False), (10**9, True)])
def test_auto_computes_layers_again_where_a_step_would_not_fit(
    tmp_path: Path, models: Models, tokens: int, again: bool
) -> None:
    chosen = {"gradient_checkpointing": "auto", "ppo.micro_batch_tokens": tokens}
    policy, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, chosen)))
    for model in (policy.model, learner.value.trained.model):
        assert all(isinstance(layer.forward, _Recomputed) == again for layer in layers_of(model))


def test_auto_decides_for_both_models_before_either_takes_memory(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [2**40]  # and nothing when it is asked again
    monkeypatch.setattr(memory, "free_memory", lambda device: free.pop() if free else 0)
    chosen = {"gradient_checkpointing": "auto"}
    policy, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, chosen)))
    for model in (policy.model, learner.value.trained.model):
        assert not any(isinstance(layer.forward, _Recomputed) for layer in layers_of(model))


def test_what_each_of_two_processes_holds_is_half() -> None:
    needed = Memory(held=100.0, cache=0.0, step=80.0, step_again=10.0)
    assert does_not_fit(needed, free=199.0)  # nine tenths are 179.1 of the 180
    assert not does_not_fit(needed, free=201.0)
    assert not does_not_fit(needed, free=145.0, processes=2)  # 130.5 of 50 + 80


def test_in_bfloat16_the_first_ratio_is_1_and_weights_stay_float32(tmp_path: Path, configure: Configure) -> None:
    both: dict[str, list[dict[str, float | None]]] = {}
    for precision in ("float32", "bfloat16"):
        (tmp_path / precision).mkdir()
        overrides = {**SHORT, "updates": 1, "precision": precision, "gradient_checkpointing": precision == "bfloat16"}
        run_ppo(configure(tmp_path / precision, overrides))
        both[precision] = figures(tmp_path / precision / "run")
    exact, rounded = both["float32"][0], both["bfloat16"][0]
    assert rounded["first_ratio_deviation"] == exact["first_ratio_deviation"] == 0.0
    assert exact["kl_nats"] == 0.0
    assert rounded["kl_nats"] != 0.0  # the reference computes in float32
    assert abs(rounded["kl_nats"]) < 0.5
    state = torch.load(newest_state(tmp_path / "bfloat16" / "run" / "states") / "tensors.pt", weights_only=True)
    assert {weight.dtype for name in ("policy", "value") for weight in state[name].values()} == {torch.float32}


def test_a_policy_of_adapters_is_published_as_a_plain_model_and_resumes_to_the_bit(
    tmp_path: Path, configure: Configure, models: Models
) -> None:
    overrides = {**SHORT, "policy.lora.rank": RANK, "value.lora.rank": RANK, "output.publish_every": 1}
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
    run_ppo(configure(tmp_path / "straight", {**overrides, "updates": 3}))
    run_ppo(configure(tmp_path / "stopped", {**overrides, "updates": 2}))
    run_ppo(configure(tmp_path / "stopped", {**overrides, "updates": 3}))
    assert digests(tmp_path / "stopped" / "run") == digests(tmp_path / "straight" / "run")
    rows = figures(tmp_path / "straight" / "run")
    assert figures(tmp_path / "stopped" / "run") == rows
    assert rows[0]["kl_nats"] == 0.0  # B = 0
    assert rows[1]["kl_nats"] != 0.0
    assert [row["first_ratio_deviation"] for row in rows] == [0.0] * 3
    checkpoint = tmp_path / "straight" / "run" / "checkpoints" / "policy-000003"
    before, after = (load_file(path / "model.safetensors") for path in (models.sft, checkpoint))
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed
    for name in changed:
        assert torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-4) <= RANK
    assert not list(checkpoint.glob("adapter*"))
    AutoModelForCausalLM.from_pretrained(checkpoint)
