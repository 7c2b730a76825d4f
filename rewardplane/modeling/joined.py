"""Token ids of pairs for encoders, whose tokenizers join two texts: [CLS] question [SEP] answer [SEP]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rewardplane.wire import ChatMessage

from .encoding import Ids, PairEncoder, UnencodablePair


class JoinedPairEncoder(PairEncoder):
    """What stands between the texts belongs to the question, what ends the pair to the answer.

    So the ids of a pair are those of `tokenizer(question, answer)`, and K answers have equal question ids.
    """

    def __init__(self, tokenizer: Any, vocabulary_size: int) -> None:
        """Raises ValueError for a tokenizer that does not put pairs between tokens of its own."""
        joined = tokenizer("a", "a")
        ids, part = joined["input_ids"], joined.sequence_ids(0)
        first, last = part.index(0), len(part) - 1 - part[::-1].index(0)
        begins, ends = part.index(1), len(part) - 1 - part[::-1].index(1)
        self._before, self._between, self._after = ids[:first], ids[last + 1 : begins], ids[ends + 1 :]
        if not (self._before and self._after):
            raise ValueError(f"{type(tokenizer).__name__} joins two texts without special tokens around them")
        super().__init__(tokenizer, self._after[-1:], vocabulary_size)

    @property
    def start_token_id(self) -> int:
        return int(self._before[0])

    def encode_question(self, question: str | Sequence[ChatMessage]) -> Ids:
        if not isinstance(question, str):
            raise UnencodablePair("a conversation was given, but this model's tokenizer joins two texts: send texts")
        return np.asarray([*self._before, *self._ids(question, special=False), *self._between], np.int32)

    def encode_answer(self, answer: str, *, ended: bool = True) -> Ids:
        return np.asarray([*self._ids(answer, special=False), *(self._after if ended else ())], np.int32)
