"""The model and the ranked questions that every contestant gets: random ids, all answers ranked without ties."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForSequenceClassification

from rewardplane.wire import TokenPair

VOCABULARY = 4096
QUESTION_TOKENS, ANSWER_TOKENS, K = 128, 64, 9
PAD = 0


def make_model() -> LlamaForSequenceClassification:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, pad_token_id=PAD, num_labels=1, attention_dropout=0.0,
    )  # fmt: skip
    return LlamaForSequenceClassification(config)


def ranked_answers(question: int) -> list[TokenPair]:  # K, the best first
    """A function of the question's number alone."""
    rng = np.random.default_rng(question)

    def ids(n: int) -> NDArray[np.int32]:
        return rng.integers(1, VOCABULARY, n, dtype=np.int32)

    asked = ids(QUESTION_TOKENS)
    return [TokenPair(asked, ids(ANSWER_TOKENS)) for _ in range(K)]


def expanded(question: int) -> list[dict[str, list[int]]]:  # K (K - 1) / 2
    """The comparisons of a question as rows of TRL's pre-tokenized form."""
    rows = [np.concatenate([p.question_ids, p.answer_ids]).tolist() for p in ranked_answers(question)]
    return [{"chosen_ids": better, "rejected_ids": worse} for better, worse in combinations(rows, 2)]


def save_model(directory: Path) -> None:
    make_model().save_pretrained(directory)
