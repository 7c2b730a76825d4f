"""States of models and optimizers in one piece, from and to shards: they do not tell how many processes there were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from rewardplane.modeling.cpu_linear import forget_packed_weights

Stateful = nn.Module | torch.optim.Optimizer


def whole_state(part: Stateful, *, wanted: bool = True) -> Any:
    """A copy of the state in host memory; sharded tensors are gathered, which all processes must take part in."""
    return _copy(part.state_dict(), wanted)


def load_whole_state(part: Stateful, state: Mapping[str, Any]) -> None:
    """Puts a state back; of a sharded tensor every process takes its share."""
    if isinstance(part, nn.Module):
        own = part.state_dict()
        part.load_state_dict({name: _share(value, own[name]) for name, value in state.items()})
    else:
        parameters = [p for group in part.param_groups for p in group["params"]]
        moments = {
            number: {name: _share(value, parameters[number]) for name, value in entry.items()}
            for number, entry in state["state"].items()
        }
        part.load_state_dict({**state, "state": moments})
    forget_packed_weights()  # the gathered weights of a sharded model count no new version


def _copy(content: Any, wanted: bool) -> Any:
    if isinstance(content, Tensor):
        whole = content.full_tensor() if isinstance(content, DTensor) else content
        return whole.detach().to("cpu", copy=True) if wanted else None
    if isinstance(content, dict):
        return {key: _copy(value, wanted) for key, value in content.items()}
    return [_copy(value, wanted) for value in content] if isinstance(content, list) else content


def _share(value: Any, like: Any) -> Any:
    """A tensor of the shape of `like`, distributed as it is; another as it is. A copy: what was read may be a file."""
    if not isinstance(value, Tensor):
        return value
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value.clone()
    # No process sends its own: all have read the same.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None).clone()
