"""Encoder reward models (BERT and its kin): pairs of similar length side by side, padded.

Their attention looks both ways, so a question's states depend on its answer: nothing can be shared, and each
pair is a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, PreTrainedConfig

from rewardplane.wire import TokenPair

MAX_BATCH_TOKENS = 2048
"""Of one padded batch. Larger ones leave the caches of a CPU; a longer pair is a batch of its own."""


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether models of this configuration read in both directions: those that predict masked tokens."""
    both_ways = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    return both_ways and not config.is_encoder_decoder and not getattr(config, "is_decoder", False)


def padded_scores(
    model: Any,  # a transformers ...ForSequenceClassification with one label
    pairs: Sequence[TokenPair],
    max_batch_tokens: int = MAX_BATCH_TOKENS,
) -> Tensor:  # [n]
    """The model's output for each pair, in the order of the pairs, before the offset. Differentiable."""
    batches = list(by_length([num_tokens(pair) for pair in pairs], max_batch_tokens))
    scores = [_batch_scores(model, [pairs[i] for i in batch]) for batch in batches]
    places = torch.tensor([i for batch in batches for i in batch], device=model.device)
    return torch.cat(scores)[places.argsort()]


def by_length(lengths: Sequence[int], max_batch_tokens: int) -> Iterator[list[int]]:
    """Cuts rows, longest first, into batches of at most `max_batch_tokens`, padding included."""
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > max_batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def final_linear(model: nn.Module) -> nn.Linear | None:
    """The linear unit that gives the score; None where the model has none."""
    units = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    return units[-1] if units else None


def num_tokens(pair: TokenPair) -> int:
    return len(pair.question_ids) + len(pair.answer_ids)


def padded_tokens(lengths: Sequence[int], max_batch_tokens: int = MAX_BATCH_TOKENS) -> int:
    """What `padded_scores` computes for pairs of these lengths, padding included."""
    return sum(len(batch) * lengths[batch[0]] for batch in by_length(lengths, max_batch_tokens))


def _batch_scores(model: Any, pairs: Sequence[TokenPair]) -> Tensor:  # [B]
    width = max(num_tokens(pair) for pair in pairs)
    # Never read: attention_mask and not the id says what is padding.
    ids = np.full((len(pairs), width), model.config.pad_token_id or 0, np.int64)
    is_token, is_answer = np.zeros_like(ids), np.zeros_like(ids)
    for row, pair in enumerate(pairs):
        n, q = num_tokens(pair), len(pair.question_ids)
        ids[row, :n] = np.concatenate([pair.question_ids, pair.answer_ids])
        is_token[row, :n] = 1
        is_answer[row, q:n] = 1
    inputs = {"input_ids": ids, "attention_mask": is_token}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = is_answer
    tensors = {name: torch.from_numpy(array).to(model.device, non_blocking=True) for name, array in inputs.items()}
    logits: Tensor = model(**tensors).logits
    return logits[:, 0].float()
