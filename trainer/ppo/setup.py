"""Loads what a run needs, and refuses what does not fit together."""

from __future__ import annotations

import torch

from rewardplane.modeling.models import Loaded, load_causal_model

from ..config import ConfigError
from ..judges import ReferenceJudge, RewardJudge
from ..optim import Optimizer
from .collect import Collector
from .config import PpoRunConfig
from .update import Learner
from .value import ValueModel


def make_learner(config: PpoRunConfig) -> tuple[Loaded, Learner]:
    """Loads the policy and the value model. Raises ConfigError when they have different tokenizers."""
    policy = load_causal_model(config.policy.path, torch.float32, config.device)
    if config.value.path is not None:
        value, fingerprint = ValueModel.from_reward_model(config.value.path, config.device)
        if fingerprint != policy.encoder.fingerprint:
            raise ConfigError(
                f"value.path: {config.value.path} has another tokenizer than policy.path; leave value.path "
                "out, and the value model starts from the policy's checkpoint"
            )
    else:
        generator = torch.Generator().manual_seed(config.seed)
        value = ValueModel.from_sft_model(config.policy.path, config.device, generator)
    _switch_off_dropout(policy.model, value)
    return policy, Learner(
        policy=policy.model,
        value=value,
        policy_optimizer=Optimizer([policy.model], config.policy_optimizer, config.updates),
        value_optimizer=Optimizer([value], config.value_optimizer, config.updates),
        temperature=config.sampling.temperature,
    )


def make_collector(config: PpoRunConfig, policy: Loaded) -> Collector:
    """Connects to the judges, waiting for them. Raises JudgeMisfit and JudgeGone."""
    reference = ReferenceJudge(config.reference, policy.encoder)
    try:
        reward = RewardJudge(config.reward, policy.encoder)
    except BaseException:
        reference.close()
        raise
    return Collector(policy, reward, reference, config.sampling)


def _switch_off_dropout(*models: torch.nn.Module) -> None:
    """In any mode: with it, log-probs of one answer differ from pass to pass, and no ratio is 1."""
    for model in models:
        model.eval()
