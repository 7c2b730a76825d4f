"""What transformers itself says of a pair: float64, eager attention, one pair at a time, no packing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification


def load_peer(auto: Any, directory: Path) -> Any:
    return auto.from_pretrained(directory, dtype=torch.float64, attn_implementation="eager").eval()


@torch.no_grad()
def peer_score(directory: Path, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """Before any offset."""
    model = load_peer(AutoModelForSequenceClassification, directory)
    model.config.pad_token_id = None  # so that it reads the last token, whichever it is
    return [float(model(input_ids=torch.tensor([[*q, *a]])).logits[0, 0]) for q, a in pairs]


@torch.no_grad()
def peer_logprobs(
    directory: Path, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], temperature: float = 1.0
) -> list[list[float]]:
    model = load_peer(AutoModelForCausalLM, directory)
    result = []
    for question, answer in pairs:
        logits = model(input_ids=torch.tensor([[*question, *answer]])).logits[0] / temperature
        of_answer = logits[len(question) - 1 : -1].log_softmax(-1)
        result.append(of_answer.gather(-1, torch.tensor(answer)[:, None])[:, 0].tolist())
    return result
