"""Models of every family that packed rows are promised for, and transformers' own forward of one pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import tiny_models
import torch
import transformers
from numpy.typing import NDArray
from tiny_models import POSITIONS, VOCABULARY
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rewardplane.modeling.models import prepare
from rewardplane.wire import TokenPair

WINDOW = 9
"""Of the families with sliding-window attention: questions and answers are longer."""

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    **tiny_models.FAMILIES,
    "mistral": ("MistralConfig", {**tiny_models.FAMILIES["mistral"][1], "sliding_window": WINDOW}),
    "gemma2": ("Gemma2Config", {**tiny_models.FAMILIES["gemma2"][1], "sliding_window": WINDOW}),
    "opt": (
        "OPTConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": POSITIONS, "word_embed_proj_dim": 32},
    ),
    "smollm3": ("SmolLM3Config", {**tiny_models.FAMILIES["llama"][1], "no_rope_layers": [1, 0]}),
    "phi": ("PhiConfig", tiny_models.FAMILIES["gpt_neox"][1]),
}  # fmt: skip


def build(
    family: str, *, causal: bool, dtype: torch.dtype = torch.float32, attention: str = "packed", **overrides: Any
) -> Any:
    """A random model, always the same one; `attention` is "packed" or one of transformers' own."""
    name, arguments = FAMILIES[family]
    always = {"initializer_range": 0.1, "pad_token_id": 2, "num_labels": 1}
    config = getattr(transformers, name)(**{**arguments, **always, **overrides})
    torch.manual_seed(0)
    auto = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
    model = auto.from_config(config).eval().to(dtype)
    if attention == "packed":
        prepare(model)
    else:
        model.set_attn_implementation(attention)
    return model


def ids(rng: np.random.Generator, length: int, vocabulary: int = VOCABULARY) -> NDArray[np.int32]:
    """Random tokens, none of them special."""
    return rng.integers(3, vocabulary, length).astype(np.int32)


def mixed_pairs(seed: int = 0) -> list[TokenPair]:
    """Shared, nearly shared, short and one-token questions; answers of 1 to 50 tokens; one pair twice."""
    rng = np.random.default_rng(seed)
    question = ids(rng, 40)
    near = np.concatenate([question[:25], ids(rng, 7)])
    pairs = [TokenPair(question, ids(rng, length)) for length in (1, 29, 12, 5)]
    pairs += [TokenPair(near, ids(rng, 5)), TokenPair(near, ids(rng, 17))]
    pairs += [TokenPair(ids(rng, 3), ids(rng, 4)), TokenPair(ids(rng, 1), ids(rng, 50))]
    return [*pairs, TokenPair(pairs[1].question_ids.copy(), pairs[1].answer_ids.copy())]


def sequence(pair: TokenPair) -> Tensor:  # int64[1, Q + A]
    return torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids]).astype(np.int64))[None]


def score_alone(model: Any, pair: TokenPair) -> Tensor:  # []
    """transformers' own score of one sequence without padding."""
    return model(input_ids=sequence(pair)).logits[0, 0]


def logprobs_alone(model: Any, pair: TokenPair, temperature: float = 1.0) -> Tensor:  # float64[A]
    """From transformers' own logits, all of them, in float64."""
    logits = model(input_ids=sequence(pair)).logits[0].double() / temperature
    places = torch.arange(len(pair.question_ids) - 1, logits.shape[0] - 1)
    return logits.log_softmax(-1)[places, torch.from_numpy(pair.answer_ids.astype(np.int64))]
