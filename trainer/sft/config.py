"""Settings of `rewardplane train sft`."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt, model_validator

from ..config import Section, digest_without
from ..lora import LoraConfig
from ..metrics.config import MetricsConfig
from ..optim import OptimizerConfig
from ..precision import Precision


class FromScratchConfig(Section):
    """A tokenizer and a Llama (arXiv:2302.13971) that begin with nothing but the training texts."""

    vocabulary_size: PositiveInt = 2048
    """Tokens of the byte-level BPE tokenizer, its three special tokens and 256 bytes included."""
    hidden_size: PositiveInt = 192
    """Width d of the hidden states."""
    intermediate_size: PositiveInt = 512
    """Width of the feed-forward layers; 8/3 of hidden_size is usual."""
    layers: PositiveInt = 4
    """Number of transformer blocks."""
    heads: PositiveInt = 6
    """Attention heads; they divide hidden_size into parts of an even width."""
    max_pair_tokens: PositiveInt = 512
    """The longest question and answer together: the model's max_position_embeddings."""

    @model_validator(mode="after")
    def _check(self) -> FromScratchConfig:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size = {self.hidden_size} is no even multiple of heads = {self.heads}")
        if self.vocabulary_size < 259:
            raise ValueError(f"vocabulary_size = {self.vocabulary_size}: bytes and special tokens need 259")
        return self


class PretrainedConfig(Section):
    """A model to go on with."""

    path: Path
    """Directory of a Hugging Face causal language model with its tokenizer."""
    drop_chat_template: bool = False
    """Teaches a chat model to go on with texts: questions are not made messages, nor by whoever loads the result."""


class SftData(Section):
    """JSON Lines of {"question": text or messages, "answer": text}."""

    train: Path
    """What is learnt."""
    heldout: Path | None = None
    """What the loss is measured on at the end."""


class SftConfig(Section):
    """One of [model] and [from_scratch] says where the weights come from."""

    metrics: MetricsConfig = MetricsConfig()
    """What Prometheus reads."""
    output: Path
    """Directory of the run: checkpoint/, metrics.jsonl and tensorboard/."""
    name: str = "sft"
    """The model's name in its manifest; servers report it."""
    model: PretrainedConfig | None = None
    from_scratch: FromScratchConfig | None = None
    data: SftData
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-5, warmup_updates=10)
    lora: LoraConfig | None = None
    """Trains low-rank changes; the checkpoint has them merged. None trains all weights."""
    epochs: PositiveInt = 1
    """Passes over the data, each in another order."""
    batch_tokens: PositiveInt = 8192
    """Tokens of one optimizer step, questions included."""
    micro_batch_tokens: PositiveInt = 4096
    """Tokens of one forward and backward; changes memory and speed, and the result only by rounding."""
    gradient_checkpointing: bool = False
    """Keeps one tensor a layer for the backward and computes the rest again: less memory, a third more computation."""
    save_every: NonNegativeInt = 200
    """Updates between states that an interrupted run goes on from; 0 saves none."""
    precision: Precision = "auto"
    """float32, bfloat16 (autocast over float32 weights), or what is faster on the device."""
    device: str = "auto"
    """A torch device; auto is a GPU if there is one."""
    trusted_keys: Path | None = None
    """PEM file of Ed25519 public keys, one of which must have signed model.path; unset takes unsigned ones, too."""
    seed: NonNegativeInt = 0
    """Of the initial weights and the order of rows."""

    @model_validator(mode="after")
    def _check(self) -> SftConfig:
        if (self.model is None) == (self.from_scratch is None):
            raise ValueError("give either [model] with a path, or [from_scratch]")
        return self

    def numbers_digest(self) -> str:
        """Hex SHA-256 over the settings that decide the run's numbers: not where things are, nor how often it saves."""
        return digest_without(self, {"output", "name", "metrics", "gradient_checkpointing", "save_every"})
