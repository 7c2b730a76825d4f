"""Tiny random models of many families, saved as checkpoints, for tests of every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from rewardplane.modeling.checkpoint import Kind, Manifest, save_checkpoint
from rewardplane.modeling.encoding import PairEncoder

VOCABULARY = 320
POSITIONS = 256
REWARD_OFFSET = 0.25
"""Of the reward model that the fixtures serve."""
TEXT = (
    "The film was good and I would see it again. ",
    "What did you think of it? It was long, and the end was not what I had hoped for. ",
    "A reward model reads a question and an answer, and says how good the answer is. ",
)

_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _SMALL),
    "mistral": ("MistralConfig", {**_SMALL, "sliding_window": 24}),
    "qwen2": ("Qwen2Config", _SMALL),
    "qwen3": ("Qwen3Config", {**_SMALL, "head_dim": 8}),
    "gemma": ("GemmaConfig", {**_SMALL, "head_dim": 8}),
    "gemma2": (
        "Gemma2Config",
        {**_SMALL, "head_dim": 8, "sliding_window": 24, "attn_logit_softcapping": 5.0},
    ),
    "gpt_neox": (
        "GPTNeoXConfig",
        {k: v for k, v in _SMALL.items() if k != "num_key_value_heads"},
    ),
    "gpt2": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS},
    ),
}
"""The configuration class and its arguments, by family."""


def make_tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE with <s> (0), </s> (1) and <pad> (2); questions begin with <s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    if chat:
        fast.chat_template = (
            "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
        )
    return fast


def make_model(kind: Kind, family: str = "llama", *, seed: int = 0, **overrides: Any) -> Any:
    """A random model with weights large enough that scores of different texts differ visibly."""
    name, arguments = FAMILIES[family]
    config = getattr(transformers, name)(
        **{
            **arguments,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
            "initializer_range": 0.1,
            **overrides,
        }
    )
    torch.manual_seed(seed)
    if kind in ("reward", "value"):
        config.num_labels = 1
        return AutoModelForSequenceClassification.from_config(config).eval()
    return AutoModelForCausalLM.from_config(config).eval()


def save_tiny(
    directory: Path,
    kind: Kind,
    family: str = "llama",
    *,
    seed: int = 0,
    chat: bool = False,
    policy_version: int = 0,
    reward_offset: float = 0.0,
    model: Any = None,
    **overrides: Any,
) -> Manifest:
    """Writes a checkpoint; of `model` instead of a random one. `reward_offset` is taken off served scores."""
    tokenizer = make_tokenizer(chat=chat)
    model = make_model(kind, family, seed=seed, **overrides) if model is None else model
    if reward_offset:
        model.config.reward_offset = reward_offset
    stops = model.config.eos_token_id
    encoder = PairEncoder(tokenizer, stops if isinstance(stops, list) else [stops], model.config.vocab_size)
    return save_checkpoint(
        directory,
        model,
        tokenizer,
        tokenizer_fingerprint=encoder.fingerprint,
        model_name=directory.name,
        kind=kind,
        policy_version=policy_version,
    )
