"""A model that several processes hold together, each a part of every matrix (tensor parallelism).

transformers splits it by its own plan for the architecture (`tp_plan="auto"`), and adds the parts of a product up.
What of the forward is ours sees a process's own heads and its own rows of the unembedding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedConfig
from transformers.distributed.configuration_utils import DistributedConfig

from .checkpoint import BadCheckpoint
from .logprobs import normaliser_and_chosen


def split_options(config: PreTrainedConfig, processes: int) -> dict[str, Any]:
    """What `from_pretrained` is told; all processes of torchrun must load. Raises BadCheckpoint."""
    if processes == 1:
        return {}
    if not getattr(config, "base_model_tp_plan", None):
        raise BadCheckpoint(f"{config.model_type} models cannot be split: transformers has no plan for them")
    heads = config.num_attention_heads
    for name, count in (("attention", heads), ("key-value", getattr(config, "num_key_value_heads", None) or heads)):
        if count % processes:
            raise BadCheckpoint(f"{count} {name} heads cannot be split among {processes} processes: start a divisor")
    return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=processes)}


def split_logprobs(
    hidden: Tensor,  # [N, d]  the same in all processes
    unembedding: DTensor,  # [V, d]  each process has its rows
    token_ids: Tensor,  # int64[N]
    temperature: float = 1.0,
    *,
    bias: Tensor | None = None,  # [V]
    softcap: float | None = None,
) -> Tensor:  # float32[N]  nats
    """As `token_logprobs`, without gradient: no process sees the logits of another, only their sum."""
    own, group = unembedding.to_local(), unembedding.device_mesh.get_group()
    first = dist.get_rank(group) * -(-unembedding.shape[0] // dist.get_world_size(group))
    ids = token_ids - first
    is_own = (ids >= 0) & (ids < own.shape[0])
    log_z, chosen = normaliser_and_chosen(
        hidden, own, ids.where(is_own, 0), temperature,
        bias=bias.to_local() if isinstance(bias, DTensor) else bias, softcap=softcap,
    )  # fmt: skip
    mine = torch.stack([log_z, chosen.where(is_own, 0)])
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, mine, group=group)
    log_zs, chosens = torch.stack(parts, dim=1)
    logprobs: Tensor = chosens.sum(0) - log_zs.logsumexp(0)
    return logprobs
