"""Loads models for scoring: a reward model gives one score a pair, a causal model log-probs and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)

from rewardplane.wire import TokenPair

from . import attention
from .checkpoint import BadCheckpoint, Manifest, read_manifest
from .cpu_linear import linear, use_packed_linear
from .encoding import PairEncoder
from .forward import packed_hidden
from .fused.use import use_fused_kernels
from .joined import JoinedPairEncoder
from .last_layer import prune_last_layer
from .logprobs import token_logprobs, token_logprobs_and_entropies
from .packing import PackedPairs, pack
from .padded import is_encoder, padded_scores
from .split_model import split_logprobs, split_options

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Loaded:
    """A model with what is needed to talk to it."""

    model: Any  # a transformers PreTrainedModel in evaluation mode; decoders have attention "rewardplane"
    encoder: PairEncoder
    manifest: Manifest
    max_pair_tokens: int
    """The longest sequence that the model's positions allow."""

    @property
    def reward_offset(self) -> float:
        """The mean raw score of reference answers, which served scores have subtracted; 0 where none is stored."""
        return float(getattr(self.model.config, "reward_offset", 0.0))


def load_reward_model(directory: Path | str, dtype: torch.dtype, device: str = "cpu", *, processes: int = 1) -> Loaded:
    """Loads a sequence classifier with one label. Raises BadCheckpoint for anything else.

    `processes` of torchrun each load their part of it, where there are several.
    """
    manifest = read_manifest(Path(directory))
    config = AutoConfig.from_pretrained(directory)
    architecture = (config.architectures or ["?"])[0]
    if not architecture.endswith("ForSequenceClassification") or config.num_labels != 1:
        raise BadCheckpoint(
            f"{directory} holds a {architecture} with {config.num_labels} labels; "
            "a reward model is a ...ForSequenceClassification with one"
        )
    return _load(AutoModelForSequenceClassification, manifest, Path(directory), dtype, device, processes)


def load_causal_model(directory: Path | str, dtype: torch.dtype, device: str = "cpu", *, processes: int = 1) -> Loaded:
    """Loads a causal language model, as `load_reward_model` does. Raises BadCheckpoint for anything else."""
    manifest = read_manifest(Path(directory))
    config = AutoConfig.from_pretrained(directory)
    architecture = (config.architectures or ["?"])[0]
    if architecture.endswith("ForSequenceClassification") or is_encoder(config):
        raise BadCheckpoint(f"{directory} holds a {architecture}; a causal language model is needed here")
    return _load(AutoModelForCausalLM, manifest, Path(directory), dtype, device, processes)


def _load(auto: Any, manifest: Manifest, directory: Path, dtype: torch.dtype, device: str, processes: int) -> Loaded:
    model = auto.from_pretrained(
        directory, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True,
        **split_options(AutoConfig.from_pretrained(directory), processes),
    ).eval()  # fmt: skip
    if processes == 1:  # else its parts are where they belong
        model = model.to(device)
    if is_encoder(model.config):
        return encoder_loaded(directory, model, manifest)
    prepare(model)
    encoder = PairEncoder(
        AutoTokenizer.from_pretrained(directory), stop_token_ids(directory, model), model.config.vocab_size
    )
    limit = int(model.config.max_position_embeddings)
    return Loaded(model, encoder, replace(manifest, tokenizer_fingerprint=encoder.fingerprint), limit)


def encoder_loaded(directory: Path, model: Any, manifest: Manifest) -> Loaded:
    """An encoder's model with its tokenizer, read from `directory`."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    encoder = JoinedPairEncoder(tokenizer, model.config.vocab_size)
    # RoBERTa never uses its first positions, so its tokenizer's limit is the smaller one.
    limit = min(int(model.config.max_position_embeddings), tokenizer.model_max_length)
    return Loaded(model, encoder, replace(manifest, tokenizer_fingerprint=encoder.fingerprint), limit)


def prepare(model: Any) -> None:
    """Gives a transformers model our attention, linear layers and kernels. Its parameters stay as they are."""
    model.set_attn_implementation(attention.NAME)
    use_packed_linear(model)
    use_fused_kernels(model)
    prune_last_layer(model)


def stop_token_ids(directory: Path | str, model: Any) -> tuple[int, ...]:
    """The tokens that end an answer: generation_config.json's list, else the model's eos_token_id."""
    if (Path(directory) / "generation_config.json").is_file():
        stops = GenerationConfig.from_pretrained(directory).eos_token_id
    else:
        stops = model.config.eos_token_id
    if stops is None:
        return ()
    return tuple(stops) if isinstance(stops, (list, tuple)) else (int(stops),)


def score_head(model: Any) -> nn.Linear:
    """The linear unit on top of a decoder's states. Raises BadCheckpoint where there is none."""
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise BadCheckpoint(f"{type(model).__name__} has no linear score head on its last hidden state")
    return head


def apply_head(head: nn.Linear, hidden: Tensor) -> Tensor:
    """float[N, d] -> float32[N]; the head is computed in float32 at least."""
    precise = torch.promote_types(hidden.dtype, torch.float32)
    with torch.autocast(hidden.device.type, enabled=False):
        bias = None if head.bias is None else head.bias.to(precise)
        return linear(hidden.to(precise), head.weight.to(precise), bias)[:, 0]


def pair_scores(model: Any, pairs: Sequence[TokenPair]) -> Tensor:  # [n]
    """The reward model's output for each pair, before the offset; decoders packed, encoders padded. Differentiable."""
    if is_encoder(model.config):
        return padded_scores(model, pairs)
    return packed_scores(model, pack(pairs).to(model.device))


def packed_scores(model: Any, packed: PackedPairs) -> Tensor:  # [n]
    """The reward model's output for each pair, before the offset. Differentiable."""
    hidden = packed_hidden(model.base_model, packed, only=packed.score_rows)
    return apply_head(score_head(model), hidden[packed.last_index])


def packed_logprobs(model: Any, packed: PackedPairs, temperature: float = 1.0) -> Tensor:  # [sum A]
    """ln p of every answer token, pair by pair, in nats. Differentiable."""
    hidden = packed_hidden(model.base_model, packed, only=packed.predict_rows)[packed.predict_index]
    unembedding, extras = _unembedding(model)
    if isinstance(unembedding, DTensor):
        return split_logprobs(hidden, unembedding, packed.answer_ids, temperature, **extras)
    return token_logprobs(hidden, unembedding, packed.answer_ids, temperature, **extras)


def packed_logprobs_and_entropies(
    model: Any, packed: PackedPairs, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:  # [sum A], [sum A]
    """As `packed_logprobs`, and the entropy of the policy at every answer token, in nats."""
    hidden = packed_hidden(model.base_model, packed, only=packed.predict_rows)[packed.predict_index]
    unembedding, extras = _unembedding(model)
    return token_logprobs_and_entropies(hidden, unembedding, packed.answer_ids, temperature, **extras)


def _unembedding(model: Any) -> tuple[Tensor, dict[str, Any]]:
    """What turns a model's states into its logits: the matrix, and the bias and cap where it has them."""
    layer = model.get_output_embeddings()
    return layer.weight, {
        "bias": layer.bias,
        "softcap": getattr(model.config, "final_logit_softcapping", None),
    }


@torch.inference_mode()
def score(loaded: Loaded, pairs: Sequence[TokenPair]) -> Tensor:  # float32[n]
    """Scores of pairs, shifted so that reference answers average 0."""
    return pair_scores(loaded.model, pairs).float() - loaded.reward_offset


@torch.inference_mode()
def logprobs(loaded: Loaded, pairs: Sequence[TokenPair], temperature: float = 1.0) -> list[Tensor]:
    """float32[A] for each pair, nats."""
    packed = pack(pairs).to(loaded.model.device)
    flat = packed_logprobs(loaded.model, packed, temperature)
    return list(flat.float().split(packed.answer_lengths))
