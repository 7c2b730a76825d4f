"""Configuration of a PPO run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..config import Section
from ..judges import JudgeConfig
from ..optim import OptimizerConfig


class PolicyConfig(Section):
    path: Path
    """The SFT checkpoint that the policy starts from: a Hugging Face directory."""
    name: str = "policy"
    """What published checkpoints are called."""


class ValueConfig(Section):
    path: Path | None = None
    """Reward-model checkpoint that the value model starts from, head included; unset means the policy's
    checkpoint with a new head (for a reward model with another tokenizer)."""


class DataConfig(Section):
    prompts: Path
    """JSONL with a `question` in each line."""
    pretraining: Path | None = None
    """JSONL with a `text` in each line, for the PTX term."""
    max_question_tokens: PositiveInt = 512
    """Longer questions stop the run before it starts."""
    max_pretraining_tokens: PositiveInt = 512
    """Longer pretraining texts lose their end."""


class SamplingConfig(Section):
    questions_per_update: PositiveInt = 64
    answers_per_question: PositiveInt = 1
    max_answer_tokens: PositiveInt = 64
    temperature: PositiveFloat = 1.0
    """The same in sampling and in old, new and reference log-probs."""
    batch_questions: PositiveInt = 64
    """Questions sampled together; while the next ones are sampled, the judges read these."""


class KlConfig(Section):
    coef: NonNegativeFloat = 0.05
    """beta of InstructGPT (arXiv:2203.02155) eq. 2; where the controller starts when it is adaptive."""
    controller: Literal["fixed", "adaptive"] = "fixed"
    target_nats: PositiveFloat = 6.0
    """KL of an answer that the adaptive controller steers to. Ziegler (arXiv:1909.08593) section 2.2."""
    horizon_episodes: PositiveInt = 10_000
    stop_nats: PositiveFloat | None = None
    """The run stops, and keeps the last checkpoint, when an update's mean KL of an answer exceeds this."""


class ScoreConfig(Section):
    sign: Literal[1, -1] = 1
    """-1 turns the reward round: a control run, whose judge must not rise."""
    normalise_answers: NonNegativeInt = 256
    """Answers of the untrained policy whose scores are given mean 0 and spread 1 before training starts
    (Ziegler, arXiv:1909.08593, section 2.1); 0 leaves scores as the reward model gives them."""
    missing_eos_score: float | Literal["keep"] = -1.0
    """Replaces the (normalised) score of an answer that was cut off before a stop token; "keep" leaves it."""


class PpoConfig(Section):
    epochs: PositiveInt = 2
    """Passes over an update's answers."""
    minibatches: PositiveInt = 2
    """Optimizer steps in a pass."""
    clip_range: PositiveFloat = 0.2
    """Half-width of the trust region on the probability ratio. PPO (arXiv:1707.06347) eq. 7."""
    clip_range_value: PositiveFloat = 0.2
    gamma: float = Field(default=1.0, gt=0.0, le=1.0)
    gae_lambda: float = Field(default=0.95, ge=0.0, le=1.0)
    ptx_coef: NonNegativeFloat = 0.0
    """gamma of InstructGPT (arXiv:2203.02155) eq. 2; the paper's is 27.8. 0 leaves the term out."""
    ptx_texts: PositiveInt = 32
    """Pretraining texts in a minibatch."""
    micro_batch_tokens: PositiveInt = 2048
    """The most tokens in one forward and backward; changes memory and speed, not the result."""


class OutputConfig(Section):
    directory: Path
    publish_every: NonNegativeInt = 0
    """Updates between published policy checkpoints; the last one is always published."""
    save_every: NonNegativeInt = 0
    """Updates between states that the run can go on from; 0 saves none."""
    keep_states: PositiveInt = 2


class EvaluationConfig(Section):
    prompts: Path | None = None
    """JSONL with held-out questions."""
    every: NonNegativeInt = 10
    """Updates between evaluations; the first and the last state are always evaluated."""
    samples: PositiveInt = 8
    """Answers written to samples.jsonl."""


class PpoRunConfig(Section):
    """A PPO run: `rewardplane train ppo --config FILE.toml`."""

    updates: PositiveInt
    seed: NonNegativeInt = 0
    device: str = "cpu"
    policy: PolicyConfig
    value: ValueConfig = ValueConfig()
    reward: JudgeConfig
    reference: JudgeConfig
    data: DataConfig
    sampling: SamplingConfig = SamplingConfig()
    kl: KlConfig = KlConfig()
    score: ScoreConfig = ScoreConfig()
    ppo: PpoConfig = PpoConfig()
    policy_optimizer: OptimizerConfig
    value_optimizer: OptimizerConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    output: OutputConfig

    def numbers_digest(self) -> str:
        """Hex SHA-256 over the settings that decide the run's numbers: not where things are, nor how long it goes."""
        deciding = self.model_dump_json(
            include={"seed", "sampling", "kl", "score", "ppo", "policy_optimizer", "value_optimizer"}
        )
        return hashlib.sha256(deciding.encode()).hexdigest()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ppo.ptx_coef and self.data.pretraining is None:
            raise ValueError("ppo.ptx_coef > 0 needs data.pretraining")
        if self.ppo.minibatches > self.sampling.questions_per_update:
            raise ValueError("ppo.minibatches is more than sampling.questions_per_update: a minibatch would be empty")
        if self.score.normalise_answers == 1 and self.sampling.answers_per_question == 1:
            raise ValueError("score.normalise_answers = 1: one score has no spread; give 0, or 2 or more")
        return self
