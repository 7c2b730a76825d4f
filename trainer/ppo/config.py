"""Configuration of a PPO run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..config import Section
from ..judges import JudgeConfig
from ..lora import LoraConfig
from ..metrics.config import MetricsConfig
from ..optim import OptimizerConfig
from ..precision import Precision


class PolicyConfig(Section):
    path: Path
    """The SFT checkpoint that the policy starts from: a Hugging Face directory."""
    name: str = "policy"
    """What published checkpoints are called."""
    lora: LoraConfig | None = None
    """Trains low-rank changes; published checkpoints have them merged. None trains all weights."""


class ValueConfig(Section):
    path: Path | None = None
    """Reward-model checkpoint that the value model starts from, head included; unset means the policy's
    checkpoint with a new head (for a reward model with another tokenizer)."""
    lora: LoraConfig | None = None
    """Trains low-rank changes and the head. None trains all weights."""
    own_process: bool = True
    """Runs a value model of up to 100 MB in a process of its own where a CPU has a thread for it (350 MB more memory,
    and half the time of an update); elsewhere it makes no difference. The numbers are the same."""


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
    engine: Literal["model", "policy-service"] = "model"
    """model samples in the run's own process, on a CPU by a decoding step of our own where it knows the model. static
    does, too, and draws the same answers up to rounding with transformers' step and a cache of fixed size, on a GPU as
    a CUDA graph; not measured yet. policy-service asks the server in `service`, which must follow the run's published
    checkpoints: every update is published, and none samples before the server has its weights."""
    service: JudgeConfig | None = None
    """The policy's server: `rewardplane serve policy --model OUTPUT/checkpoints --follow-seconds 0.2`."""
    questions_per_update: PositiveInt = 64
    answers_per_question: PositiveInt = 1
    max_answer_tokens: PositiveInt = 64
    temperature: PositiveFloat = 1.0
    """The same in sampling and in old, new and reference log-probs."""
    batch_questions: PositiveInt = 64
    """Questions sampled together; while the next ones are sampled, the judges read these."""
    ahead: Literal[0, 1] = 0
    """1 samples the answers of the next update before the epochs of this one, so that slow judges read them meanwhile:
    one step off-policy, and the ratio corrects for it (arXiv:2410.18252)."""


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
    min_answer_tokens: PositiveInt = 1
    """An answer of fewer tokens, the stop token included, gets `short_answer_score`. (Sampling forbids nothing: the
    answers would not be the policy's own any more.)"""
    short_answer_score: float = -1.0


class PpoConfig(Section):
    advantage: Literal["gae", "rloo"] = "gae"
    """gae has a value model (arXiv:1506.02438); rloo compares the answers to a question with each other
    (arXiv:2402.14740), needs several of them, and no value model."""
    whiten_rewards: bool = False
    """Scales an update's rewards to variance 1 over its tokens, their mean kept (arXiv:2403.17031)."""
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
    micro_batch_tokens: PositiveInt = 4096
    """The most tokens in one forward and backward; changes memory and speed, not the result."""


class OutputConfig(Section):
    """Everything is written in the background, from a copy in host memory."""

    directory: Path
    url: str | None = None
    """Where states, checkpoints, metrics and samples are kept as well: "s3://bucket/run", or any URL of fsspec. A run
    goes on from there when its directory was lost."""
    publish_every: NonNegativeInt = 0
    """Updates between published policy checkpoints; the last one is always published."""
    signing_key: Path | None = None
    """Ed25519 private key in PEM: published checkpoints are signed with it."""
    keep_published: PositiveInt | None = None
    """The newest published checkpoints that are kept, beside the best one; unset keeps all."""
    keep_best: str | None = None
    """A figure of the evaluations, "eval_score" for one: the policy with the highest is published, kept, and named in
    best.json."""
    save_every: NonNegativeInt = 0
    """Updates between states that the run can go on from; 0 saves none. The last update's is saved too."""
    keep_states: PositiveInt = 2
    """The newest states that are kept."""


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
    precision: Precision = "float32"
    """Of forward and backward, in sampling, measuring and training: float32, bfloat16 (autocast over float32 weights,
    heads and log-probs in float32), or auto, which is what is faster on the device."""
    gradient_checkpointing: bool | Literal["auto"] = False
    """Keeps one tensor a layer for the backward and computes the rest again: less memory, a third more computation.
    "auto" does so where a step would not fit into the memory that is free on the device."""
    trusted_keys: Path | None = None
    """PEM file of Ed25519 public keys, one of which must have signed policy.path and value.path; unset takes unsigned
    checkpoints, too."""
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
    value_optimizer: OptimizerConfig | None = None
    """Needed with ppo.advantage = "gae"."""
    evaluation: EvaluationConfig = EvaluationConfig()
    metrics: MetricsConfig = MetricsConfig()
    """What Prometheus reads."""
    output: OutputConfig

    def numbers_digest(self) -> str:
        """Hex SHA-256 over the settings that decide the run's numbers: not where things are, nor how long it goes."""
        deciding = self.model_dump_json(
            include={
                "seed": True, "precision": True, "sampling": True, "kl": True, "score": True, "ppo": True,
                "policy": {"lora"}, "value": {"lora"}, "policy_optimizer": True, "value_optimizer": True,
            },
            exclude={"sampling": {"engine", "service"}},
        )  # fmt: skip
        return hashlib.sha256(deciding.encode()).hexdigest()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.ppo.ptx_coef and self.data.pretraining is None:
            raise ValueError("ppo.ptx_coef > 0 needs data.pretraining")
        if self.ppo.minibatches > self.sampling.questions_per_update:
            raise ValueError("ppo.minibatches is more than sampling.questions_per_update: a minibatch would be empty")
        if self.score.min_answer_tokens > self.sampling.max_answer_tokens:
            raise ValueError("score.min_answer_tokens is more than sampling.max_answer_tokens: no answer would count")
        if self.output.keep_best and not self.evaluation.prompts:
            raise ValueError("output.keep_best needs evaluation.prompts: it names a figure of the evaluations")
        self._check_advantage()
        if (self.sampling.engine == "policy-service") != (self.sampling.service is not None):
            raise ValueError('sampling.engine = "policy-service" needs sampling.service, and no other engine has it')
        if self.sampling.service is not None and self.output.keep_published is None:
            raise ValueError('sampling.engine = "policy-service" publishes every update: set output.keep_published')
        if self.sampling.ahead >= self.updates:
            raise ValueError("sampling.ahead = 1 needs updates of 2 or more: nothing is ahead of a single one")
        if self.score.normalise_answers == 1 and self.sampling.answers_per_question == 1:
            raise ValueError("score.normalise_answers = 1: one score has no spread; give 0, or 2 or more")
        return self

    def _check_advantage(self) -> None:
        if self.ppo.advantage == "gae":
            if self.value_optimizer is None:
                raise ValueError('value_optimizer is missing: ppo.advantage = "gae" trains a value model')
            return
        if self.sampling.answers_per_question < 2:
            raise ValueError('ppo.advantage = "rloo" needs sampling.answers_per_question of 2 or more')
        if self.value_optimizer is not None or self.value != ValueConfig():
            raise ValueError('ppo.advantage = "rloo" has no value model: leave value and value_optimizer out')
