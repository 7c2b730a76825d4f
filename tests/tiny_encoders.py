"""Tiny random encoders with the pair templates of their families, saved as plain Hugging Face directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tiny_models import VOCABULARY, make_tokenizer
from tokenizers import processors
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

POSITIONS = 128

_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.3,
    "pad_token_id": 2,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertConfig", _SMALL),
    "roberta": ("RobertaConfig", {**_SMALL, "max_position_embeddings": POSITIONS + 3, "type_vocab_size": 1}),
    "distilbert": (
        "DistilBertConfig",
        {"vocab_size": VOCABULARY, "dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4, "pad_token_id": 2,
         "max_position_embeddings": POSITIONS, "initializer_range": 0.3},
    ),
    "deberta": ("DebertaV2Config", {**_SMALL, "type_vocab_size": 0, "relative_attention": True,
                                    "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16}),
    "modernbert": ("ModernBertConfig", {**_SMALL, "initializer_range": 0.1, "cls_token_id": 0, "sep_token_id": 1,
                                        "local_attention": 8}),
}  # fmt: skip
"""The configuration class and its arguments, by family."""


def joining_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """<s> question </s> answer </s>; RoBERTa has two </s> in the middle, BERT numbers the parts."""
    tokenizer = make_tokenizer()
    middle = "</s> </s>" if family == "roberta" else "</s>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=f"<s> $A {middle} $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.cls_token, tokenizer.sep_token = "<s>", "</s>"
    tokenizer.model_max_length = POSITIONS
    if family == "bert":
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return tokenizer


def encoder_config(family: str) -> Any:
    name, arguments = FAMILIES[family]
    dropout = {"hidden_dropout_prob": 0.1} if family in ("bert", "roberta", "deberta") else {}
    return getattr(transformers, name)(**arguments, **dropout, num_labels=1)


def save_encoder(directory: Path, family: str = "bert", *, seed: int = 0, classifier: bool = True) -> Path:
    """A classifier with one label, or the bare encoder that a reward model begins with."""
    torch.manual_seed(seed)
    auto = AutoModelForSequenceClassification if classifier else AutoModel
    auto.from_config(encoder_config(family)).save_pretrained(directory)
    joining_tokenizer(family).save_pretrained(directory)
    return directory
