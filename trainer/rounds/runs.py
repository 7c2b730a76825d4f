"""The settings of a round's two trainings."""

from __future__ import annotations

from pathlib import Path

import torch

from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.models import load_causal_model

from ..judges import JudgeConfig
from ..ppo.config import (
    DataConfig,
    EvaluationConfig,
    OutputConfig,
    PolicyConfig,
    PpoRunConfig,
    SamplingConfig,
    ValueConfig,
)
from ..reward.config import BackboneConfig, RankedData, RewardConfig
from .names import HELDOUT, POLICY_RUN, REWARD_RUN
from .place import Round


def reward_config(made: Round, begin: Path, rankings: Path) -> RewardConfig:
    settings = made.record.settings
    return RewardConfig(
        output=made.directory / REWARD_RUN,
        name=f"reward-round{made.record.number}",
        model=BackboneConfig(path=begin),
        data=RankedData(train=rankings, heldout=made.directory / HELDOUT),
        optimizer=settings.reward.optimizer,
        epochs=settings.reward.epochs,
        batch_questions=settings.reward.batch_questions,
        save_every=20,
        seed=settings.seed,
    )


def policy_config(made: Round, begin: Path, reward: Path, judges: tuple[str, str]) -> PpoRunConfig:
    """`judges`: addresses of the reward model and the reference."""
    settings, remote = made.record.settings, made.remote
    policy = settings.policy
    return PpoRunConfig(
        updates=policy.updates,
        seed=settings.seed,
        device=policy.device,
        policy=PolicyConfig(path=begin, name=f"policy-round{made.record.number}"),
        # With another tokenizer the reward model cannot be where the value model starts.
        value=ValueConfig(path=reward if same_tokenizer(reward, begin) else None),
        reward=JudgeConfig(target=judges[0]),
        reference=JudgeConfig(target=judges[1]),
        data=DataConfig(prompts=settings.prompts, pretraining=settings.pretraining),
        sampling=SamplingConfig(
            questions_per_update=policy.questions_per_update, max_answer_tokens=settings.max_answer_tokens
        ),
        kl=policy.kl,
        score=policy.score,
        ppo=policy.ppo,
        policy_optimizer=policy.policy_optimizer,
        value_optimizer=policy.value_optimizer,
        evaluation=EvaluationConfig(prompts=settings.heldout_prompts, every=policy.evaluate_every),
        output=OutputConfig(
            directory=made.directory / POLICY_RUN,
            url=remote.policy_url if remote else None,
            publish_every=policy.evaluate_every,
            save_every=policy.save_every,
        ),
    )


def same_tokenizer(reward: Path, policy: Path) -> bool:
    """Checkpoints of ours name their tokenizer; a plain Hugging Face directory is loaded for it."""
    own = read_manifest(policy).tokenizer_fingerprint or load_causal_model(policy, torch.float32).encoder.fingerprint
    return read_manifest(reward).tokenizer_fingerprint == own
