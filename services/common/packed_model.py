"""A decoder that is served: all pairs of a batch in one packed row."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rewardplane.modeling import attention
from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.frozen import frozen
from rewardplane.modeling.packing import PackedPairs, Share, pack
from rewardplane.wire import TokenPair

from .served_model import Floats, RowTokens, ServedModel


class PackedModel(ServedModel):
    """One forward pass is one row of tokens, without padding."""

    @abstractmethod
    def outputs(self, packed: PackedPairs, temperature: float) -> list[Floats]:
        """What `forward` gives."""

    def forward(
        self, pairs: Sequence[TokenPair], temperature: float = 1.0, *, share: Share = "question"
    ) -> tuple[list[Floats], RowTokens]:
        length = sum(len(pair.question_ids) + len(pair.answer_ids) for pair in pairs)
        with torch.inference_mode():
            step = 1 if frozen(self.loaded.model.base_model) else row_step(length)
            packed = pack(pairs, share=share, round_to=step).to(self.loaded.model.device)
            outputs = self.outputs(packed, temperature)
        return outputs, count_tokens(packed)

    @torch.inference_mode()
    def error(self, pairs: Sequence[TokenPair]) -> float:
        """Of the hidden states."""
        packed = pack(pairs).to(self.loaded.model.device)
        hidden = packed_hidden(self.loaded.model.base_model, packed).float()
        alone = self._one_by_one(pairs)
        got = torch.cat([hidden[packed.predict_index], hidden[packed.last_index]])
        want = torch.cat([
            *(states[len(pair.question_ids) - 1 : -1] for states, pair in zip(alone, pairs, strict=True)),
            *(states[-1:] for states in alone),
        ])  # fmt: skip
        return float((got - want).abs().max() / want.abs().max())

    def _one_by_one(self, pairs: Sequence[TokenPair]) -> list[Tensor]:
        """float[Q + A, d] for each pair, by the attention that transformers wrote for this model."""
        model = self.loaded.model
        rows = [torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids])).long() for pair in pairs]
        model.set_attn_implementation("eager")
        try:
            outputs = [model.base_model(input_ids=row[None].to(model.device), use_cache=False) for row in rows]
        finally:
            model.set_attn_implementation(attention.NAME)
        return [output.last_hidden_state[0].float() for output in outputs]


def row_step(length: int) -> int:
    """To a multiple of what a row of about `length` tokens is filled up, where products are oneDNN's.

    It keeps a compiled kernel for every distinct number of rows: 0.4 to 0.8 GB when all lengths occur.
    Short rows take small steps, so that at most a sixteenth of what is computed is filler.
    """
    return next((step for limit, step in ((64, 4), (128, 8), (256, 16), (512, 32)) if length <= limit), 64)


def count_tokens(packed: PackedPairs) -> RowTokens:
    # The filler is the end of the row; the run before it ends some pair.
    computed = int(packed.last_index.max()) + 1
    return RowTokens(computed, packed.num_logical_tokens - computed, packed.num_tokens - computed)
