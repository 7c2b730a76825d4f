"""A reward model as everybody calls it: transformers, one right-padded batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class PaddedReward:
    """Scores with `AutoModelForSequenceClassification` in float32."""

    def __init__(self, directory: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(directory)
        self._model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()

    @torch.inference_mode()
    def scores(self, questions: Sequence[str], answers: Sequence[str]) -> list[float]:
        tokenizer = self._tokenizer
        tokenizer.padding_side = "right"
        texts = [question + answer + tokenizer.eos_token for question, answer in zip(questions, answers, strict=True)]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        logits = self._model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return logits[:, 0].tolist()
