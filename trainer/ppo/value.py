"""The value model: a reward model's trunk and head, read at every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.models import apply_head, load_causal_model, load_reward_model, score_head
from rewardplane.modeling.packing import PackedPairs


class ValueModel(nn.Module):
    """Gives the value of the state before each answer token: `packed_values`."""

    def __init__(self, backbone: Any, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def standardise(self, mean: float, spread: float) -> None:
        """Makes the model predict (value - mean) / spread instead of value."""
        with torch.no_grad():
            self.head.bias.copy_((self.head.bias - mean) / spread)
            self.head.weight.div_(spread)

    @classmethod
    def from_reward_model(cls, directory: Path, device: str) -> tuple[ValueModel, str]:
        """Starts from the reward model, head and offset too: InstructGPT (arXiv:2203.02155) appendix C.4.

        Also gives the fingerprint of the reward model's tokenizer.
        """
        loaded = load_reward_model(directory, torch.float32, device)
        model = loaded.model
        trained = score_head(model)
        head = nn.Linear(trained.in_features, 1, device=device)
        with torch.no_grad():
            head.weight.copy_(trained.weight)
            head.bias.fill_(-loaded.reward_offset)
            if trained.bias is not None:
                head.bias.add_(trained.bias)
        return cls(model.base_model, head), loaded.encoder.fingerprint

    @classmethod
    def from_sft_model(cls, directory: Path, device: str, generator: torch.Generator) -> tuple[ValueModel, str]:
        """For a reward model with another tokenizer: the SFT model's trunk, head ~ N(0, 1/sqrt(d+1)).

        Also gives the fingerprint of the SFT model's tokenizer.
        """
        loaded = load_causal_model(directory, torch.float32, device)
        model = loaded.model
        width = model.config.hidden_size
        head = nn.Linear(width, 1)
        with torch.no_grad():
            head.weight.normal_(0.0, (width + 1) ** -0.5, generator=generator)
            head.bias.zero_()
        return cls(model.base_model, head.to(device)), loaded.encoder.fingerprint


def packed_values(model: ValueModel, packed: PackedPairs) -> Tensor:  # [sum A]
    """Of the state before every answer token, pair by pair. Differentiable."""
    hidden = packed_hidden(model.backbone, packed, only=packed.predict_rows)
    return apply_head(model.head, hidden[packed.predict_index])
