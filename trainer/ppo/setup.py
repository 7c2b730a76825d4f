"""Loads what a run needs, and refuses what does not fit together."""

from __future__ import annotations

import torch

from rewardplane.modeling.models import Loaded, load_causal_model

from ..config import ConfigError
from ..judges import PolicyServer, ReferenceJudge, RewardJudge
from ..lora import adapt
from ..models import check_signed, choose_device
from ..optim import Optimizer
from ..processes import ALONE, Processes
from ..recompute import recompute_layers
from ..sharding import Trained
from .collect import Collector
from .config import PpoRunConfig
from .learner import Learner, PolicyLearner, ValueWork
from .memory import computes_again
from .value import ValueModel
from .value_learner import ValueLearner
from .value_process import ValueProcess

LARGEST_BYTES = 100 << 20
"""Weights of a value model that gets a process of its own. Larger products keep cores busy from one process, too, and
each saved state would be much to send."""


def make_learner(config: PpoRunConfig, processes: Processes = ALONE) -> tuple[Loaded, Learner]:
    """Loads the policy and the value model. Raises ConfigError when they have different tokenizers, or
    are not signed as they must be."""
    check_signed(config.trusted_keys, policy_path=config.policy.path, value_path=config.value.path)
    # Once, before anything is loaded: models that are there would be counted twice.
    config = config.model_copy(update={"gradient_checkpointing": computes_again(config, processes)})
    elsewhere = _value_process(config, processes)  # loads while the policy does
    try:
        policy = load_causal_model(config.policy.path, torch.float32, str(processes.loading_device(config.device)))
        adapt(policy.model, config.policy.lora, seed=config.seed)
        trained = _trained(policy.model, config, processes)
        optimizer = Optimizer([trained], config.policy_optimizer, config.updates)
        return policy, Learner(
            policy=PolicyLearner(trained, optimizer, config.precision, config.sampling.temperature),
            value=_value_learner(config, policy, processes, elsewhere),
        )
    except BaseException:
        if elsewhere is not None:
            elsewhere.close()
        raise


def _trained(model: torch.nn.Module, config: PpoRunConfig, processes: Processes) -> Trained:
    model.eval()  # with dropout, log-probs of one answer differ from pass to pass, and no ratio is 1
    if config.gradient_checkpointing:
        recompute_layers(model)
    return Trained(model, processes)


def _value_process(config: PpoRunConfig, processes: Processes) -> ValueProcess | None:
    """Where a CPU has cores for both models, the value model is small, and no other process shares in the run."""
    threads, device = torch.get_num_threads(), choose_device(config.device)
    weights = sum(file.stat().st_size for file in (config.value.path or config.policy.path).glob("*.safetensors"))
    wanted = config.value_optimizer is not None and config.value.own_process and weights <= LARGEST_BYTES
    if not wanted or device.type != "cpu" or processes.count > 1 or threads == 1:
        return None
    return ValueProcess(config, threads // 2)


def _value_learner(
    config: PpoRunConfig, policy: Loaded, processes: Processes, elsewhere: ValueProcess | None
) -> ValueWork | None:
    if config.value_optimizer is None:  # the configuration makes sure that there is one with GAE, and none without
        return None
    value, fingerprint = (elsewhere, elsewhere.ready()) if elsewhere else load_value_learner(config, processes)
    if fingerprint != policy.encoder.fingerprint:
        raise ConfigError(
            f"value.path: {config.value.path} has another tokenizer than policy.path; leave value.path "
            "out, and the value model starts from the policy's checkpoint"
        )
    return value


def load_value_learner(config: PpoRunConfig, processes: Processes = ALONE) -> tuple[ValueLearner, str]:
    """The value model and its optimizer, and the fingerprint of the tokenizer that it reads."""
    assert config.value_optimizer is not None
    assert config.gradient_checkpointing != "auto"  # `make_learner` has decided
    device = str(processes.loading_device(config.device))
    if config.value.path is not None:
        value, fingerprint = ValueModel.from_reward_model(config.value.path, device)
    else:
        generator = torch.Generator().manual_seed(config.seed)
        value, fingerprint = ValueModel.from_sft_model(config.policy.path, device, generator)
    adapt(value.backbone, config.value.lora, seed=config.seed)
    trained = _trained(value, config, processes)
    optimizer = Optimizer([trained], config.value_optimizer, config.updates)
    return ValueLearner(trained, optimizer, config.precision), fingerprint


def make_collector(config: PpoRunConfig, policy: Loaded, trained: Trained) -> Collector:
    """Connects to the judges, waiting for them. Raises JudgeMisfit and JudgeGone."""
    reference = ReferenceJudge(config.reference, policy.encoder)
    try:
        reward = RewardJudge(config.reward, policy.encoder)
    except BaseException:
        reference.close()
        raise
    service = config.sampling.service
    server = PolicyServer(service, policy.encoder) if service is not None else None
    return Collector(policy, trained, reward, reference, config.sampling, config.precision, server)
