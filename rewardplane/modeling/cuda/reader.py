"""Reads questions and then, token by token, answers, with keys and values in memory that stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardplane.wire import TokenPair

from ..packing import pack
from ..prefill import runs
from ..upload import upload
from .decoder import Angles, CudaDecoder
from .layers import Product
from .one_query import attend_one_query
from .rotary import Heads, Places

QUESTIONS_AT_ONCE = 32768
"""Tokens of questions in one row."""

Ids = NDArray[np.int32]


class CudaReader:
    """B answers to be; what has been read of them is in `_cache`, which begins with the question."""

    def __init__(
        self,
        decoder: CudaDecoder,
        head: Any,  # the linear unit that gives logits
        questions: Sequence[Ids],  # int32[Q] each, Q > 0
        answers_per_question: int,
        max_answer_tokens: int,
    ) -> None:
        self._decoder, self._head = decoder, Product.of([head], decoder.dtype, owns=False)
        lengths, device = [len(question) for question in questions], decoder.embedding.device
        rows, width = len(questions) * answers_per_question, max(lengths)
        self._last = torch.tensor(lengths, device=device).repeat_interleave(answers_per_question) - 1
        self._cache = [
            _room(rows, layer.heads, width + max_answer_tokens, decoder.dtype, device) for layer in decoder.layers
        ]
        logits = [
            self._ask(questions[first:end], first, answers_per_question)
            for first, end in runs(lengths, QUESTIONS_AT_ONCE)
        ]
        self.logits = torch.cat(logits).repeat_interleave(answers_per_question, 0)
        """For the first token of each answer. [B, V]"""
        for both in self._cache:
            for kept in both:
                answers = kept.unflatten(0, (len(questions), answers_per_question))[:, :, :, :width]
                answers[:, 1:] = answers[:, :1]

    def _ask(self, questions: Sequence[Ids], first: int, answers_per_question: int) -> Tensor:  # [n, V]
        """Keeps what a question's first answer continues."""
        device = self._last.device
        pairs = [TokenPair(question[:1], question[1:]) for question in questions]
        packed = pack(pairs, min_shared_tokens=2, round_to=1).to(device)  # each question by itself
        numbers = np.arange(first, first + len(questions)) * answers_per_question
        slots = upload(torch.from_numpy(numbers.repeat([len(question) for question in questions])), device)
        attend = self._decoder.attention_of(packed, self._cache, Places(slots, packed.position_ids))
        return self._head(self._decoder.run(packed.input_ids, packed.position_ids, attend, packed.last_index))

    def read(self, tokens: Tensor) -> Tensor:
        """Appends a token to each answer. int64[B] -> [B, V], the logits for the next. Waits for nothing."""
        self._last.add_(1)

        def attend(number: int, rows: Tensor, angles: Angles | None) -> Tensor:
            layer, kept = self._decoder.layers[number], self._cache[number]
            return attend_one_query(rows, layer.heads, angles, layer.norms, *kept, self._last, layer.scaling)

        return self._head(self._decoder.run(tokens, self._last, attend))

    def keep(self, going: Tensor) -> None:
        """Goes on with the answers at these places alone. int64[R], ascending."""
        for number, both in enumerate(self._cache):
            self._cache[number] = both[0].index_select(0, going), both[1].index_select(0, going)
        self._last = self._last[going]


def _room(rows: int, heads: Heads, tokens: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """For keys and values of a layer. [rows, G, tokens, D] each"""
    both = torch.empty(2, rows, heads.keys, tokens, heads.width, dtype=dtype, device=device)
    return both[0], both[1]
