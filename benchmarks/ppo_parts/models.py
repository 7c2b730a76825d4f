"""The random models and the prompts that every contestant gets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.encoding import PairEncoder

VOCABULARY = 256
PAD, STOP = 0, 1
QUESTION_TOKENS = (8, 24)  # the shortest and the longest question
QUESTIONS = 4096


@dataclass(frozen=True)
class Size:
    """Of a Llama; the value, reward and reference models are as large as the policy."""

    hidden: int
    layers: int

    @property
    def config(self) -> LlamaConfig:
        return LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=self.hidden, intermediate_size=2 * self.hidden,
            num_hidden_layers=self.layers, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=256, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=STOP, pad_token_id=PAD,
        )  # fmt: skip


def make_models(directory: Path, size: Size) -> None:
    """Writes `sft`, `reward` and prompts.jsonl, whose questions are words that are their token's number."""
    tokenizer = make_tokenizer()
    fingerprint = PairEncoder(tokenizer, [STOP], VOCABULARY).fingerprint
    torch.manual_seed(0)
    policy = LlamaForCausalLM(size.config)
    config = size.config
    config.num_labels = 1
    reward = LlamaForSequenceClassification(config)
    save_checkpoint(
        directory / "sft", policy, tokenizer, tokenizer_fingerprint=fingerprint, model_name="sft", kind="sft"
    )
    save_checkpoint(
        directory / "reward", reward, tokenizer, tokenizer_fingerprint=fingerprint, model_name="reward", kind="reward"
    )
    with (directory / "prompts.jsonl").open("w") as file:
        for ids in questions():
            file.write(json.dumps({"question": " ".join(map(str, ids))}) + "\n")


def questions() -> list[list[int]]:
    rng = np.random.default_rng(0)
    shortest, longest = QUESTION_TOKENS
    lengths = rng.integers(shortest, longest + 1, QUESTIONS)
    return [rng.integers(STOP + 1, VOCABULARY, n).tolist() for n in lengths]


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {str(number): number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token=str(PAD)))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=str(PAD), eos_token=str(STOP), unk_token=str(PAD), padding_side="left"
    )
