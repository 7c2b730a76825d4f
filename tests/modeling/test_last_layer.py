"""The last layer's work is done where a state is read, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from one_by_one import FAMILIES, build, mixed_pairs
from torch import Tensor
from torch.testing import assert_close

from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.models import packed_logprobs, packed_scores
from rewardplane.modeling.packing import pack

# What each family's last layer can do for some rows only. GPT-2 and GPT-NeoX make queries, keys and values in one
# product; OPT's feed-forward part has no module of its own.
PRUNED = {
    "gpt2": {"c_proj", "mlp"},
    "gpt_neox": {"dense", "mlp"},
    "opt": {"q_proj", "out_proj"},
    "phi": {"q_proj", "dense", "mlp"},
}


def rows_seen(model: Any) -> dict[str, list[int]]:
    """Rows that each module of each layer is about to compute, filled in by the next forward pass."""
    seen: dict[str, list[int]] = {}

    def note(name: str) -> Any:
        return lambda module, inputs: seen.setdefault(name, []).append(inputs[0].shape[1])

    for path, module in model.base_model.named_modules():
        name = path.rpartition(".")[2]
        if name in ("mlp", "q_proj", "o_proj", "out_proj", "dense", "c_proj"):
            module.register_forward_pre_hook(note(path))  # after the hook that selects
    return seen


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_scores_compute_the_last_layer_at_one_row_a_pair(family: str) -> None:
    model = build(family, causal=False)
    seen = rows_seen(model)
    packed = pack(mixed_pairs())
    assert len(packed.score_rows) < packed.num_tokens / 4
    with torch.no_grad():
        packed_scores(model, packed)
    last = {path.rpartition(".")[2] for path, (rows,) in seen.items() if rows == len(packed.score_rows)}
    assert last == PRUNED.get(family, {"q_proj", "o_proj", "mlp"})


def test_rows_that_are_read_are_distinct_and_few() -> None:
    packed = pack(mixed_pairs())
    for rows, read in ((packed.score_rows, packed.last_index), (packed.predict_rows, packed.predict_index)):
        assert len(rows.unique()) == len(rows)
        assert set(read.tolist()) <= set(rows.tolist())
        assert len(rows) == -(-len(read.unique()) // 32) * 32


def test_a_row_shorter_than_a_step_is_read_whole() -> None:
    pair = mixed_pairs()[-1:]
    packed = pack(pair, round_to=1)
    assert len(packed.score_rows) == min(packed.num_tokens, 32)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_bits_are_those_of_the_whole_layer(family: str) -> None:
    model = build(family, causal=True)
    packed = pack(mixed_pairs())
    with torch.no_grad():
        whole = packed_hidden(model.base_model, packed)
        read = packed_hidden(model.base_model, packed, only=packed.predict_rows)
    if family == "llama":  # whose products are all oneDNN's; GPT-2's Conv1D runs MKL
        assert torch.equal(read[packed.predict_index], whole[packed.predict_index])
    assert_close(read[packed.predict_index], whole[packed.predict_index], atol=1e-5, rtol=1e-5)
    assert torch.isfinite(read).all()


def test_repeated_rows_get_the_gradient_of_each_reader() -> None:
    # Three answers to one question all read the state of its last token.
    model = build("llama", causal=True, dtype=torch.float64)
    packed = pack(mixed_pairs())
    assert len(packed.predict_index.unique()) < len(packed.predict_index)

    def gradient(*, prune: bool) -> Tensor:
        model.zero_grad()
        if prune:
            packed_logprobs(model, packed).sum().backward()
        else:
            hidden = packed_hidden(model.base_model, packed)[packed.predict_index]
            logits = hidden @ model.get_output_embeddings().weight.T
            logits.log_softmax(-1).gather(-1, packed.answer_ids[:, None]).sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    assert_close(gradient(prune=True), gradient(prune=False), atol=1e-7, rtol=1e-6)
