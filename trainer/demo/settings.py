"""The settings of the demo's three trainings."""

from __future__ import annotations

from pathlib import Path

from ..judges import JudgeConfig
from ..optim import OptimizerConfig
from ..ppo.config import (
    DataConfig,
    EvaluationConfig,
    KlConfig,
    OutputConfig,
    PolicyConfig,
    PpoConfig,
    PpoRunConfig,
    SamplingConfig,
    ValueConfig,
)
from ..ppo.config import ScoreConfig as PpoScoreConfig
from ..reward.config import BackboneConfig, RankedData, RewardConfig
from ..sft.config import FromScratchConfig, PretrainedConfig, SftConfig, SftData
from .prepare import PreparedData

ANSWER_TOKENS = 24

# 0.9 million parameters: trained in minutes on two cores. Of the vocabularies 2048 and 4096 the larger ranked better.
SMALL_LLAMA = FromScratchConfig(
    vocabulary_size=4096, hidden_size=128, intermediate_size=320, layers=2, heads=4, max_pair_tokens=512
)


def sft_settings(data: PreparedData, output: Path, model: Path | None, seed: int) -> SftConfig:
    """A small Llama from scratch, or somebody's own model for one epoch."""
    pretrained = None if model is None else PretrainedConfig(path=model)
    return SftConfig(
        output=output,
        model=pretrained,
        from_scratch=SMALL_LLAMA if model is None else None,
        data=SftData(train=data.sft, heldout=data.sft_heldout),
        optimizer=OptimizerConfig(learning_rate=3e-3 if model is None else 5e-4, warmup_updates=20, weight_decay=0.1),
        epochs=3 if model is None else 1,
        batch_tokens=2048,
        seed=seed,
    )


def reward_settings(
    data: PreparedData, output: Path, backbone: Path, seed: int, *, shuffle_labels: bool = False
) -> RewardConfig:
    return RewardConfig(
        output=output,
        model=BackboneConfig(path=backbone),
        data=RankedData(train=data.ranked, heldout=data.ranked_heldout),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_updates=10),
        epochs=2,
        batch_questions=16,
        shuffle_labels=shuffle_labels,
        seed=seed,
    )


def ppo_settings(
    data: PreparedData, output: Path, *, policy: Path, value: Path, reward: str, reference: str,
    updates: int, seed: int, sign: int = 1,
) -> PpoRunConfig:  # fmt: skip
    return PpoRunConfig(
        updates=updates,
        seed=seed,
        policy=PolicyConfig(path=policy),
        value=ValueConfig(path=value),
        reward=JudgeConfig(target=reward),
        reference=JudgeConfig(target=reference),
        data=DataConfig(prompts=data.prompts, pretraining=data.pretraining, max_pretraining_tokens=64),
        sampling=SamplingConfig(questions_per_update=64, max_answer_tokens=ANSWER_TOKENS),
        kl=KlConfig(coef=0.1),
        score=PpoScoreConfig(sign=1 if sign > 0 else -1),
        ppo=PpoConfig(epochs=2, minibatches=2, ptx_coef=0.1, ptx_texts=16),
        policy_optimizer=OptimizerConfig(learning_rate=3e-4, warmup_updates=5, schedule="constant"),
        value_optimizer=OptimizerConfig(learning_rate=5e-4, warmup_updates=5, schedule="constant"),
        evaluation=EvaluationConfig(prompts=data.prompts_heldout, every=10),
        output=OutputConfig(directory=output, save_every=25),
    )
