"""Settings of a round, which the next one inherits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ..config import Section
from ..labelling.items import FEWEST, MOST
from ..optim import OptimizerConfig
from ..ppo.config import KlConfig, PpoConfig, ScoreConfig

Choice = Literal["random", "margin", "disagreement"]


class SampleConfig(Section):
    """What is asked, and which of the sampled answers are ranked."""

    questions: PositiveInt = 200
    """Items to be ranked."""
    answers: int = Field(default=4, ge=FEWEST, le=MOST)
    """K, the answers of an item. InstructGPT (arXiv:2203.02155) has 4 to 9."""
    temperatures: tuple[PositiveFloat, ...] = Field(default=(0.7, 1.0, 1.3), min_length=1)
    """Answers are sampled at each of them, and those of an item come from all in turn."""
    oversample: float = Field(default=1.5, ge=1.0)
    """Answers sampled for each one that is ranked: duplicates and empty ones are dropped."""
    match_lengths: bool = False
    """Of the sampled answers, those that are most alike in length: a ranking then says little about length."""
    choice: Choice = "random"
    """Which questions of the pool are asked: at random, those whose answers the last reward model scores most alike,
    or those that an ensemble of its heads disagrees about."""
    pool: float = Field(default=1.25, ge=1.0)
    """Questions that answers are sampled for, for each one that is asked. More than 1, as some give too few different
    answers; a choice other than random wants 3 or more."""
    heads: int = Field(default=8, ge=2)
    """Bootstrap heads of choice = "disagreement"."""


class LabelConfig(Section):
    """How the items are ranked."""

    per_item: PositiveInt = 1
    """People who rank an item."""
    heldout_ratio: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the questions whose rankings are kept from training: reward models are compared on them."""


class RewardSettings(Section):
    """How the reward model is trained; what is left out is as in `rewardplane train reward`."""

    begin: Literal["last", "sft"] = "last"
    """Where it starts: from the last round's reward model, or from `backbone` each time."""
    backbone: Path | None = None
    """The model that the first one starts from; unset means `sft`."""
    rankings: Literal["all", "newest"] = "all"
    """What it learns: the rankings of all rounds so far, or those of this one."""
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=9e-6)
    epochs: PositiveInt = 1
    batch_questions: PositiveInt = 16


class PolicySettings(Section):
    """How the policy is trained; what is left out is as in `rewardplane train ppo`."""

    begin: Literal["sft", "last"] = "sft"
    """Where it starts; the KL is to the SFT model in any case."""
    device: str = "cpu"
    """A torch device, of the policy and the value model. Judges that the command starts compute on the CPU."""
    updates: PositiveInt = 200
    questions_per_update: PositiveInt = 64
    kl: KlConfig = KlConfig()
    score: ScoreConfig = ScoreConfig()
    ppo: PpoConfig = PpoConfig()
    policy_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-5)
    value_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-5)
    evaluate_every: PositiveInt = 10
    """Updates between evaluations on `heldout_prompts`, each with a published checkpoint: `compare` chooses two of
    equal KL among them."""
    save_every: NonNegativeInt = 10
    """Updates between states that an interrupted run goes on from."""


class RoundConfig(Section):
    """A round: `rewardplane round start DIRECTORY --config FILE.toml`."""

    seed: NonNegativeInt = 0
    sft: Path
    """Checkpoint of the SFT model: the reference of every round, and the policy of the first one."""
    prompts: Path
    """JSONL with a `question` in each line: those that are asked and those of PPO. No question is asked twice."""
    heldout_prompts: Path
    """The same, kept from training: evaluation and `compare`."""
    pretraining: Path | None = None
    """JSONL with a `text` in each line, for the PTX term."""
    max_answer_tokens: PositiveInt = 64
    """Of every answer that is sampled, in all steps."""
    sample: SampleConfig = SampleConfig()
    label: LabelConfig = LabelConfig()
    reward: RewardSettings = RewardSettings()
    policy: PolicySettings = PolicySettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.policy.ppo.advantage != "gae":
            raise ValueError('policy.ppo.advantage must be "gae": rounds train a value model from the reward model')
        if self.policy.ppo.ptx_coef and self.pretraining is None:
            raise ValueError("policy.ppo.ptx_coef > 0 needs pretraining")
        return self

    def with_absolute_paths(self) -> Self:
        """Rounds are gone on with from anywhere."""
        names = ("sft", "prompts", "heldout_prompts", "pretraining")
        changed = {name: path.absolute() for name in names if (path := getattr(self, name)) is not None}
        backbone = self.reward.backbone
        reward = self.reward.model_copy(update={"backbone": backbone.absolute() if backbone else None})
        return self.model_copy(update={**changed, "reward": reward})
