"""Pretraining text for the PTX term."""

from __future__ import annotations

from collections.abc import Sequence

from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import TokenPair


def encode_texts(texts: Sequence[str], encoder: PairEncoder, max_tokens: int) -> list[TokenPair]:
    """Each text as a pair whose answer is all but its first token, so that log-probs of answers are those of
    the text. Texts of fewer than two tokens are left out; longer ones than `max_tokens` lose their end.
    """
    pairs = []
    for text in texts:
        ids = encoder.encode_text(text)[:max_tokens]
        if len(ids) >= 2:
            pairs.append(TokenPair(ids[:1], ids[1:]))
    return pairs
