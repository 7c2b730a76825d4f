"""Models that learn, whole in one process or sharded over several with FSDP2."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from rewardplane.modeling.layers import layers_of

from .lora import merge
from .processes import ALONE, Processes

T = TypeVar("T")


class Trained(nn.Module):
    """A model and the processes that train it: `trained(f, x)` is `f(model, x)`.

    A sharded model gathers the weights of a layer around the layer, and all others around the call, so `f` reads
    plain tensors. All processes must make the same calls, forward and backward. Gradients are summed over them.
    """

    def __init__(self, model: Any, processes: Processes = ALONE) -> None:
        super().__init__()
        self.model = model
        self.processes = processes
        # FSDP's modules cannot be copied: these can. (Not a module of this one.)
        self._structure: tuple[Any] = (_without_weights(model) if processes.mesh else model,)
        if processes.mesh:
            _shard(self)

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    def forward(self, function: Callable[..., T], *arguments: Any) -> T:
        result = function(self.model, *arguments)
        # FSDP hangs a hook on what comes out, and does not want it to be a view.
        return result.clone() if isinstance(result, Tensor) else result  # type: ignore[return-value]

    @torch.no_grad()
    def copy(self, device: torch.device | str = "cpu", *, wanted: bool = True) -> Any:
        """The same model in one piece, which training does not change any more; None where it is not wanted."""
        structure, twins = self._structure[0], {}
        for own, learning in zip(structure.parameters(), self.model.parameters(), strict=True):
            weight = learning.full_tensor() if isinstance(learning, DTensor) else learning.detach()
            if wanted:
                twins[id(own)] = nn.Parameter(weight.to(device, copy=True), learning.requires_grad)
        if not wanted:
            return None
        for buffer in structure.buffers():
            twins[id(buffer)] = buffer.detach().to(device, copy=True)
        return copy.deepcopy(structure, twins)

    def readable(self, device: torch.device) -> Any:
        """The model in one piece: itself, or a copy of its shards with adapters merged. All processes must call it."""
        return self.model if self.processes.mesh is None else merge(self.copy(device))

    def finished(self) -> Any:
        """The model as it is saved, adapters merged, when training is over; None in all processes but the first."""
        if self.processes.mesh is None:
            return merge(self.model)
        model = self.copy(wanted=self.processes.first)
        return merge(model) if self.processes.first else None


def _shard(trained: Trained) -> None:
    mesh = trained.processes.mesh
    for layer in layers_of(trained.model) or ():
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    # Also around the whole, which by default stays gathered after a forward without backward.
    fully_shard(trained, mesh=mesh, reshard_after_forward=True)
    for module in trained.modules():
        if isinstance(module, FSDPModule):
            # Losses are divided by counts over all processes, so gradients are summed and not averaged. gloo knows no
            # factors.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def _without_weights(model: nn.Module) -> Any:
    twins: dict[int, Any] = {
        id(own): nn.Parameter(torch.empty_like(own, device="meta"), own.requires_grad) for own in model.parameters()
    }
    return copy.deepcopy(model, twins)
