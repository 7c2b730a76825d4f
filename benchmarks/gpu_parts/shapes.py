"""Shapes of models whose weights are random, and how many floating-point operations their forward needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

from rewardplane.modeling.frozen import freeze
from rewardplane.modeling.models import prepare


@dataclass(frozen=True)
class Shape:
    """Of a Llama."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            hidden_size=self.hidden, num_hidden_layers=self.layers, num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads, intermediate_size=self.intermediate, vocab_size=self.vocabulary,
            max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0,
            num_labels=1,
        )  # fmt: skip

    @property
    def linear_weights(self) -> int:
        """Weights that each token meets in a matrix product, the unembedding left out."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.hidden * self.kv_heads // self.heads
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def forward_flops(self, spans: Sequence[tuple[int, int]]) -> float:
        """Of the trunk. `spans`: (queries, keys) of each run of the row; the queries are the last of the keys."""
        tokens = sum(queries for queries, _ in spans)
        seen = sum(queries * (keys - queries) + queries * (queries + 1) / 2 for queries, keys in spans)
        return 2.0 * self.linear_weights * tokens + 4.0 * self.layers * self.hidden * seen


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", 64, 2, 4, 2, 128, 512),
        Shape("135M", 576, 30, 9, 3, 1536, 49152),
        Shape("1B", 2048, 16, 32, 8, 8192, 128256),
        Shape("7B", 4096, 32, 32, 32, 11008, 32000),
    )
}


def random_model(shape: Shape, *, causal: bool, device: str, dtype: torch.dtype, packed: bool = True) -> Any:
    """On the device, always the same weights. `packed` gives it our attention and linear layers."""
    auto = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
    torch.manual_seed(0)
    with torch.device(device):
        model = auto.from_config(shape.config, dtype=dtype).eval()
    if packed:
        prepare(model)
    else:
        model.set_attn_implementation("sdpa")
    return model


def as_served(model: Any) -> Any:
    """As a server has it: its weights no longer change."""
    model.requires_grad_(False)
    freeze(model.base_model)
    return model
