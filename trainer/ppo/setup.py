"""Loads what a run needs, and refuses what does not fit together."""

from __future__ import annotations

import torch

from rewardplane.modeling.models import Loaded, load_causal_model

from ..config import ConfigError
from ..judges import ReferenceJudge, RewardJudge
from ..optim import Optimizer
from .collect import Collector
from .config import PpoRunConfig
from .learner import Learner, PolicyLearner, ValueLearner
from .value import ValueModel


def make_learner(config: PpoRunConfig) -> tuple[Loaded, Learner]:
    """Loads the policy and the value model. Raises ConfigError when they have different tokenizers."""
    policy = load_causal_model(config.policy.path, torch.float32, config.device)
    _switch_off_dropout(policy.model)
    optimizer = Optimizer([policy.model], config.policy_optimizer, config.updates)
    return policy, Learner(
        policy=PolicyLearner(policy.model, optimizer, config.sampling.temperature),
        value=_value_learner(config, policy),
    )


def _value_learner(config: PpoRunConfig, policy: Loaded) -> ValueLearner | None:
    if config.value_optimizer is None:  # the configuration makes sure that there is one with GAE, and none without
        return None
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
    _switch_off_dropout(value)
    return ValueLearner(value, Optimizer([value], config.value_optimizer, config.updates))


def make_collector(config: PpoRunConfig, policy: Loaded) -> Collector:
    """Connects to the judges, waiting for them. Raises JudgeMisfit and JudgeGone."""
    reference = ReferenceJudge(config.reference, policy.encoder)
    try:
        reward = RewardJudge(config.reward, policy.encoder)
    except BaseException:
        reference.close()
        raise
    return Collector(policy, reward, reference, config.sampling)


def _switch_off_dropout(model: torch.nn.Module) -> None:
    """With it, log-probs of one answer differ from pass to pass, and no ratio is 1."""
    model.eval()
