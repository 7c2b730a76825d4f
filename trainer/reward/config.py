"""Settings of `rewardplane train reward`."""

from __future__ import annotations

from pathlib import Path

from pydantic import NonNegativeInt, PositiveInt

from ..config import Section, digest_without
from ..lora import LoraConfig
from ..metrics.config import MetricsConfig
from ..optim import OptimizerConfig
from ..precision import Precision


class BackboneConfig(Section):
    """The model under the score head."""

    path: Path
    """Directory of the SFT model, which gets a new head, or of a reward model, which keeps its own."""


class RankedData(Section):
    """JSON Lines of {"question", "answers": [...], "ranks": [0 is best] or "ratings": [higher is better]}."""

    train: Path
    """Rankings to learn."""
    heldout: Path | None = None
    """Rankings to measure the pairwise accuracy on."""
    reference: Path | None = None
    """Demonstrations ({"question", "answer"}) whose mean score becomes 0; else the answers in `train`."""


class RewardConfig(Section):
    """The K answers of a question are one row of a batch, however many comparisons they make."""

    metrics: MetricsConfig = MetricsConfig()
    """What Prometheus reads."""
    output: Path
    """Directory of the run: checkpoint/, metrics.jsonl and tensorboard/."""
    name: str = "reward"
    """The model's name in its manifest; servers report it."""
    model: BackboneConfig
    data: RankedData
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=9e-6)
    lora: LoraConfig | None = None
    """Trains low-rank changes and the head; the checkpoint has them merged. None trains all weights."""
    epochs: PositiveInt = 1
    """Passes over the rankings, each in another order. More than one overfits large models."""
    batch_questions: PositiveInt = 64
    """Questions of one optimizer step, with all of their answers."""
    micro_batch_tokens: PositiveInt = 4096
    """Tokens of one forward and backward; changes memory and speed, and the result only by rounding."""
    evaluate_every: NonNegativeInt = 0
    """Updates between measurements on the held-out rankings; 0 measures once, at the end."""
    reference_answers: PositiveInt = 2048
    """Answers that the mean score is taken over, drawn at random where there are more."""
    shuffle_labels: bool = False
    """Deals the ranks of each question out at random: a control that must end at an accuracy of 0.5."""
    gradient_checkpointing: bool = False
    """Keeps one tensor a layer for the backward and computes the rest again: less memory, a third more computation."""
    save_every: NonNegativeInt = 200
    """Updates between states that an interrupted run goes on from; 0 saves none."""
    precision: Precision = "auto"
    """float32, bfloat16 (autocast over float32 weights, head in float32), or what is faster on the device."""
    device: str = "auto"
    """A torch device; auto is a GPU if there is one."""
    trusted_keys: Path | None = None
    """PEM file of Ed25519 public keys, one of which must have signed model.path; unset takes unsigned ones, too."""
    seed: NonNegativeInt = 0
    """Of the new head, the order of questions and the shuffled labels."""

    def numbers_digest(self) -> str:
        """Hex SHA-256 over the settings that decide the run's numbers: not where things are, nor how often it saves."""
        return digest_without(
            self, {"output", "name", "metrics", "gradient_checkpointing", "evaluate_every", "save_every"}
        )
