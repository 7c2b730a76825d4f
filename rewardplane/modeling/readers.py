"""Who reads answers on a GPU, where nothing may move in memory while they grow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import attention
from .cuda.use import HAVE_TRITON
from .frozen import frozen
from .fused.rows import PLAIN
from .plain_decoder import is_plain
from .prefill import prefill
from .rounded import rounded_dtype
from .static_reader import StaticReader, keeps_all
from .static_sampling import Reader

if TYPE_CHECKING:
    from .cuda.decoder import CudaDecoder

Ids = NDArray[np.int32]


def reader_at_rest(
    model: Any,  # a transformers decoder with its unembedding, on a GPU
    questions: Sequence[Ids],  # int32[Q] each
    answers_per_question: int,
    max_answer_tokens: int,
) -> Reader | None:
    """None for a model that is shared out among processes, or forgets positions, or attends in a way of its own."""
    tokens = max(len(question) for question in questions) + max_answer_tokens
    if all(map(len, questions)) and (decoder := _known(model)) is not None and decoder.sees_all(tokens):
        from .cuda.reader import CudaReader

        return CudaReader(decoder, model.lm_head, questions, answers_per_question, max_answer_tokens)
    whole = all(type(parameter) in PLAIN for parameter in model.parameters())
    if not whole or model.config._attn_implementation != attention.NAME or not keeps_all(model):
        return None
    return StaticReader(model, prefill(model, questions, answers_per_question), max_answer_tokens)


def _known(model: Any) -> CudaDecoder | None:
    """With the model's weights of now."""
    if not HAVE_TRITON or not is_plain(model, "cuda"):
        return None
    from .cuda.decoder import CudaDecoder

    decoder = frozen(model.model)
    if isinstance(decoder, CudaDecoder):
        return decoder
    return CudaDecoder(model.model, rounded_dtype(model.lm_head.weight), owns=False)
