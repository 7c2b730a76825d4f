"""A language model with its unembedding replaced by one linear unit, or an encoder with one on top."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForSequenceClassification

from rewardplane.modeling.checkpoint import BadCheckpoint, read_manifest
from rewardplane.modeling.models import (
    Loaded,
    encoder_loaded,
    load_causal_model,
    load_reward_model,
    prepare,
    score_head,
)
from rewardplane.modeling.padded import final_linear, is_encoder

from ..models import turn_dropout_off


def load_backbone(directory: Path, device: torch.device, seed: int) -> Loaded:
    """Loads a reward model as it is, or another model with a new head ~ N(0, 1/sqrt(d+1)), in float32."""
    config = AutoConfig.from_pretrained(directory)
    if (config.architectures or [""])[0].endswith("ForSequenceClassification"):
        loaded = load_reward_model(directory, torch.float32, str(device))
    elif is_encoder(config):
        loaded = _encoder_with_new_head(directory, device, seed)
    else:
        loaded = _with_new_head(directory, device, seed)
    turn_dropout_off(loaded.model)
    return loaded


def _with_new_head(directory: Path, device: torch.device, seed: int) -> Loaded:
    causal = load_causal_model(directory, torch.float32)
    stops = causal.encoder.stop_token_ids
    model = _classifier(directory)
    # Stop tokens may be named in generation_config.json alone, which a classifier does not keep.
    model.config.eos_token_id = stops[0] if len(stops) == 1 else list(stops)
    model.config.pad_token_id = padding_token(causal.encoder.tokenizer, stops)
    model.config.reward_offset = 0.0
    initialise_head(score_head(model), seed)
    prepare(model.to(device))
    return Loaded(model, causal.encoder, causal.manifest, causal.max_pair_tokens)


def _encoder_with_new_head(directory: Path, device: torch.device, seed: int) -> Loaded:
    with torch.random.fork_rng(devices=[]):  # some families have more new layers under the last one
        torch.manual_seed(seed)
        model = _classifier(directory)
    head = final_linear(model)
    if head is None:
        raise BadCheckpoint(f"{directory}: {type(model).__name__} has no linear unit with one output")
    initialise_head(head, seed)
    model.config.reward_offset = 0.0
    return encoder_loaded(directory, model.to(device), read_manifest(directory))


def _classifier(directory: Path) -> Any:
    """In evaluation mode, with random weights where the directory has none."""
    with _quiet():  # transformers would warn that the head is new, which is what we want
        return AutoModelForSequenceClassification.from_pretrained(
            directory, num_labels=1, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()


@torch.no_grad()
def initialise_head(head: torch.nn.Linear, seed: int) -> None:
    """w ~ N(0, 1/sqrt(d+1)), b = 0. Stiennon et al. (arXiv:2009.01325); N+ details (arXiv:2403.17031)."""
    generator = torch.Generator().manual_seed(seed)
    head.weight.copy_(torch.normal(0.0, (head.in_features + 1) ** -0.5, head.weight.shape, generator=generator))
    if head.bias is not None:
        head.bias.zero_()


def padding_token(tokenizer: Any, stop_token_ids: tuple[int, ...]) -> int:
    """A padding token for transformers' own pooling, which takes the last token that is another one.

    So it must not be a stop token, or scores would be read one token early. We never look at it.
    """
    named = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    candidates = [i for i in named if i is not None] + list(range(len(stop_token_ids) + 1))
    return int(next(i for i in candidates if i not in stop_token_ids))


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
