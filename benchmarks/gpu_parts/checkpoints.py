"""Writes checkpoints of random weights for the servers and the trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from gpu_parts.shapes import SHAPES, random_model
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.encoding import PairEncoder

STOP = 1


def save_models(directory: Path, name: str, device: str, kinds: tuple[str, ...] = ("sft", "reward")) -> None:
    """Makes `sft` and `reward` under `directory`, with weights that are drawn on the device."""
    shape = SHAPES[name]
    tokenizer = _tokenizer(shape.vocabulary)
    fingerprint = PairEncoder(tokenizer, [STOP], shape.vocabulary).fingerprint
    for kind in kinds:
        model = random_model(
            shape, causal=kind == "sft", device=device, dtype=torch.bfloat16, packed=False,
        ).cpu()  # fmt: skip
        save_checkpoint(
            directory / kind, model, tokenizer, tokenizer_fingerprint=fingerprint, model_name=kind,
            kind="sft" if kind == "sft" else "reward",
        )  # fmt: skip


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A word for each number."""
    tokenizer = Tokenizer(WordLevel({str(number): number for number in range(vocabulary)}, unk_token="0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="0", eos_token="1", unk_token="0", padding_side="left"
    )
