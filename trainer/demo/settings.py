"""The settings of the demo's three trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..judges import JudgeConfig
from ..models import check_model_directory
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


@dataclass(frozen=True)
class Recipe:
    """What a demo's models begin with, and how long and how fast they learn."""

    language_model: Path | None  # None: one from scratch
    reward_backbone: Path | None  # None: the fine-tuned language model
    sft_texts: int | None  # that the language model sees; None: all
    sft_epochs: int
    sft_learning_rate: float
    reward_epochs: int
    reward_learning_rate: float
    updates: int
    questions_per_update: int
    ptx_texts: int
    policy_learning_rate: float
    value_learning_rate: float


FROM_SCRATCH = Recipe(
    language_model=None, reward_backbone=None,
    sft_texts=None, sft_epochs=3, sft_learning_rate=3e-3, reward_epochs=2, reward_learning_rate=1e-3,
    updates=50, questions_per_update=64, ptx_texts=16, policy_learning_rate=3e-4, value_learning_rate=5e-4,
)  # fmt: skip


def recipe_of(model: str | None, cache: Path) -> Recipe:
    """For nothing, for "smollm2", or for the directory of somebody's own causal language model.

    Raises PackageUnavailable and ConfigError.
    """
    if model is None:
        return FROM_SCRATCH
    if model == "smollm2":
        from .smollm2 import obtain_encoder, obtain_language_model  # transformers takes seconds

        # 150 times the parameters of the model from scratch: less of everything, and smaller steps.
        return Recipe(
            language_model=obtain_language_model(cache), reward_backbone=obtain_encoder(cache),
            sft_texts=2000, sft_epochs=1, sft_learning_rate=1e-4, reward_epochs=1, reward_learning_rate=1e-4,
            updates=30, questions_per_update=32, ptx_texts=8, policy_learning_rate=3e-5, value_learning_rate=3e-5,
        )  # fmt: skip
    check_model_directory("--model", Path(model))
    return replace(FROM_SCRATCH, language_model=Path(model), sft_epochs=1, sft_learning_rate=5e-4)


# 0.9 million parameters: trained in minutes on two cores. Of the vocabularies 2048 and 4096 the larger ranked better.
SMALL_LLAMA = FromScratchConfig(
    vocabulary_size=4096, hidden_size=128, intermediate_size=320, layers=2, heads=4, max_pair_tokens=512
)


def sft_settings(data: PreparedData, output: Path, recipe: Recipe, seed: int) -> SftConfig:
    """The texts are to be gone on with, so a chat model's template is left out."""
    path = recipe.language_model
    return SftConfig(
        output=output,
        model=None if path is None else PretrainedConfig(path=path, drop_chat_template=True),
        from_scratch=SMALL_LLAMA if path is None else None,
        data=SftData(train=data.sft, heldout=data.sft_heldout),
        optimizer=OptimizerConfig(learning_rate=recipe.sft_learning_rate, warmup_updates=20, weight_decay=0.1),
        epochs=recipe.sft_epochs,
        batch_tokens=2048,
        seed=seed,
    )


def reward_settings(
    data: PreparedData, output: Path, sft: Path, recipe: Recipe, seed: int, *, shuffle_labels: bool = False
) -> RewardConfig:
    return RewardConfig(
        output=output,
        model=BackboneConfig(path=recipe.reward_backbone or sft),
        data=RankedData(train=data.ranked, heldout=data.ranked_heldout),
        optimizer=OptimizerConfig(learning_rate=recipe.reward_learning_rate, warmup_updates=10),
        epochs=recipe.reward_epochs,
        batch_questions=16,
        shuffle_labels=shuffle_labels,
        seed=seed,
    )


def ppo_settings(
    data: PreparedData, output: Path, recipe: Recipe, *, sft: Path, reward: Path, judges: tuple[str, str],
    updates: int, seed: int, sign: int = 1,
) -> PpoRunConfig:  # fmt: skip
    """`judges`: addresses of the reward model and the reference. With another tokenizer the reward model cannot
    be where the value model starts."""
    return PpoRunConfig(
        updates=updates,
        seed=seed,
        policy=PolicyConfig(path=sft),
        value=ValueConfig(path=reward if recipe.reward_backbone is None else None),
        reward=JudgeConfig(target=judges[0]),
        reference=JudgeConfig(target=judges[1]),
        data=DataConfig(prompts=data.prompts, pretraining=data.pretraining, max_pretraining_tokens=64),
        sampling=SamplingConfig(questions_per_update=recipe.questions_per_update, max_answer_tokens=ANSWER_TOKENS),
        kl=KlConfig(coef=0.1),
        score=PpoScoreConfig(sign=1 if sign > 0 else -1),
        ppo=PpoConfig(epochs=2, minibatches=2, ptx_coef=0.1, ptx_texts=recipe.ptx_texts),
        policy_optimizer=_constant(recipe.policy_learning_rate),
        value_optimizer=_constant(recipe.value_learning_rate),
        evaluation=EvaluationConfig(prompts=data.prompts_heldout, every=10),
        output=OutputConfig(directory=output, save_every=25),
    )


def _constant(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(learning_rate=learning_rate, warmup_updates=5, schedule="constant")
