"""Turns questions and answers into token ids: one rule for servers and trainers.

A question is tokenized with the tokenizer's own special tokens, or through its chat template when it has
one; an answer is tokenized without special tokens and ends with the model's first stop token. The two are
tokenized apart, so a pair's question ids do not depend on its answer, and K answers share them exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from rewardplane.wire import ChatMessage, Pair, TextPair, TokenPair

Ids = NDArray[np.int32]


class UnencodablePair(ValueError):
    """A pair that this tokenizer cannot encode; the message says why."""


class PairEncoder:
    """Encodes pairs with one tokenizer and the stop tokens of one model."""

    def __init__(self, tokenizer: Any, stop_token_ids: Sequence[int], vocabulary_size: int) -> None:
        """`vocabulary_size` is the model's: it may have more rows than the tokenizer has tokens."""
        if not stop_token_ids:
            raise ValueError("the model names no stop token: set eos_token_id in generation_config.json")
        self.tokenizer = tokenizer
        encodes_itself = getattr(type(tokenizer), "_encode_plus", None) is PreTrainedTokenizerFast._encode_plus
        self._backend: Any = tokenizer.backend_tokenizer if encodes_itself else None
        self.stop_token_ids = tuple(int(i) for i in stop_token_ids)
        self.vocabulary_size = vocabulary_size

    def encode(self, pair: Pair) -> TokenPair:
        """Raises UnencodablePair for an empty question or answer and for ids outside the vocabulary."""
        if isinstance(pair, TokenPair):
            self._check_ids("question", pair.question_ids)
            self._check_ids("answer", pair.answer_ids)
            return pair
        if not pair.answer:
            raise UnencodablePair("the answer is empty")
        question = pair.question if isinstance(pair, TextPair) else pair.messages
        return TokenPair(self.encode_question(question), self.encode_answer(pair.answer))

    def encode_question(self, question: str | Sequence[ChatMessage]) -> Ids:
        """A text, or a conversation up to the message to be answered. int32[Q], Q >= 1."""
        if isinstance(question, str) and not self.tokenizer.chat_template:
            # Tokenizers without a start token (GPT-2, Qwen): what ends a text also stands before the next one.
            ids: Sequence[int] = self._ids(question, special=True) or [self.start_token_id]
        else:
            ids = self._templated(question)
        return np.asarray(ids, np.int32)

    @property
    def start_token_id(self) -> int:
        """The token that texts begin with, if they begin with one; an empty question consists of it."""
        bos = self.tokenizer.bos_token_id
        return self.stop_token_ids[0] if bos is None else int(bos)

    def encode_answer(self, answer: str, *, ended: bool = True) -> Ids:
        """int32[A]; with the stop token that a finished answer ends with, unless `ended` is False."""
        ids = self._ids(answer, special=False)
        return np.asarray([*ids, self.stop_token_ids[0]] if ended else ids, np.int32)

    def encode_text(self, text: str) -> Ids:
        """A whole text with the tokenizer's special tokens and a stop token: language-model training text."""
        ids = self._ids(text, special=True)
        return np.asarray([*ids, self.stop_token_ids[0]], np.int32)

    def decode(self, ids: Ids) -> str:
        """The text of an answer, without special tokens."""
        return str(self.tokenizer.decode(ids.tolist(), skip_special_tokens=True))

    def decode_answer(self, pair: TokenPair) -> str:
        """The text that an answer adds to its question: question + answer reads as one text.

        Tokenizers that mark the beginnings of words drop the blank before the first one of a text.
        """
        question = self.decode(pair.question_ids)
        both = self.decode(np.concatenate([pair.question_ids, pair.answer_ids]))
        return both[len(question) :] if both.startswith(question) else self.decode(pair.answer_ids)

    def ended(self, answer_ids: Ids) -> bool:
        return int(answer_ids[-1]) in self.stop_token_ids

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over vocabulary, merges and special tokens: equal means that ids mean the same."""
        backend = json.loads(self.tokenizer.backend_tokenizer.to_str())
        content = {
            "vocabulary": sorted(self.tokenizer.get_vocab().items()),
            "merges": backend["model"].get("merges", []),
            "normalizer": backend["normalizer"],
            "pre_tokenizer": backend["pre_tokenizer"],
            "special": sorted((t["id"], t["content"]) for t in backend["added_tokens"] if t["special"]),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _ids(self, text: str, *, special: bool) -> list[int]:
        """`tokenizer(text)` with or without its special tokens: of short texts, half of the time is that call's own, a
        quarter of the rest goes to offsets, which nobody reads."""
        backend = self._backend
        if backend is None or backend.truncation or backend.padding:  # which that call takes back
            ids: list[int] = self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"]
            return ids
        if backend.encode_special_tokens != self.tokenizer.split_special_tokens:
            backend.encode_special_tokens = self.tokenizer.split_special_tokens
        (encoded,) = backend.encode_batch_fast([text], add_special_tokens=special)
        return list(encoded.ids)

    def _templated(self, question: str | Sequence[ChatMessage]) -> Sequence[int]:
        if not self.tokenizer.chat_template:
            raise UnencodablePair("a conversation was given, but this model's tokenizer has no chat template")
        if isinstance(question, str):
            question = [ChatMessage("user", question)]
        if not question:
            raise UnencodablePair("the conversation has no message")
        messages: list[Mapping[str, str]] = [{"role": m.role, "content": m.content} for m in question]
        encoded = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        ids: Sequence[int] = encoded["input_ids"]
        return ids

    def _check_ids(self, what: str, ids: Ids) -> None:
        if not len(ids):
            raise UnencodablePair(f"the {what} has no tokens")
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.vocabulary_size:
            bad = low if low < 0 else high
            raise UnencodablePair(f"{what} token id {bad} is outside the vocabulary (0 to {self.vocabulary_size - 1})")
