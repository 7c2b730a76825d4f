"""The settings of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rewardplane.trainer.demo.prepare import PreparedData
from rewardplane.trainer.judges import JudgeConfig
from rewardplane.trainer.optim import OptimizerConfig
from rewardplane.trainer.ppo.config import (
    DataConfig,
    KlConfig,
    OutputConfig,
    PolicyConfig,
    PpoConfig,
    PpoRunConfig,
    SamplingConfig,
    ScoreConfig,
    ValueConfig,
)
from rewardplane.trainer.reward.config import BackboneConfig, RankedData, RewardConfig

from .data import StoryFiles

ANSWER_TOKENS = 48


@dataclass(frozen=True)
class Variant:
    """What tells one PPO run from another."""

    kl_coef: float
    seed: int = 0
    sign: int = 1

    @property
    def name(self) -> str:
        return f"{'sign flipped, ' if self.sign < 0 else ''}kl_coef {self.kl_coef:g}, seed {self.seed}"


def reward_settings(ratings: PreparedData, model: Path, output: Path) -> RewardConfig:
    """The demo's, with the model of stories under the head."""
    return RewardConfig(
        output=output,
        model=BackboneConfig(path=model),
        data=RankedData(train=ratings.ranked, heldout=ratings.ranked_heldout),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_updates=20),
        epochs=2,
        batch_questions=16,
    )


def ppo_settings(
    files: StoryFiles, model: Path, reward: Path, judges: tuple[str, str], output: Path, variant: Variant, updates: int
) -> PpoRunConfig:
    """`judges`: addresses of the reward model and the reference. A story seldom ends within an answer's tokens, so a
    missing stop token is no fault here."""
    return PpoRunConfig(
        updates=updates,
        seed=variant.seed,
        policy=PolicyConfig(path=model),
        value=ValueConfig(path=reward),
        reward=JudgeConfig(target=judges[0]),
        reference=JudgeConfig(target=judges[1]),
        data=DataConfig(prompts=files.prompts, pretraining=files.stories, max_pretraining_tokens=64),
        sampling=SamplingConfig(questions_per_update=64, max_answer_tokens=ANSWER_TOKENS),
        kl=KlConfig(coef=variant.kl_coef),
        score=ScoreConfig(sign=1 if variant.sign > 0 else -1, missing_eos_score="keep"),
        # A reward model of films is far off in the middle of a story: the value model learns that before the policy
        # moves, and its clip does not hold it back.
        ppo=PpoConfig(
            epochs=2, minibatches=2, clip_range_value=10.0, ptx_coef=0.1, ptx_texts=16, micro_batch_tokens=4096
        ),
        policy_optimizer=_falling(1e-4, warmup_updates=15),
        value_optimizer=_falling(1e-3, warmup_updates=5),
        output=OutputConfig(directory=output),
    )


def _falling(learning_rate: float, warmup_updates: int) -> OptimizerConfig:
    return OptimizerConfig(learning_rate=learning_rate, warmup_updates=warmup_updates, schedule="linear")
