"""Tiny checkpoints whose token ids mean something else than those of tests/tiny_models.py."""

from __future__ import annotations

from pathlib import Path

from tiny_models import VOCABULARY, make_model, make_tokenizer

from rewardplane.modeling.checkpoint import Kind, save_checkpoint
from rewardplane.modeling.encoding import PairEncoder


def save_with_other_tokenizer(directory: Path, kind: Kind) -> Path:
    """Writes a random model whose vocabulary has one more token; gives its directory."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["film"])
    model = make_model(kind, seed=5, vocab_size=VOCABULARY + 1)
    fingerprint = PairEncoder(tokenizer, [1], VOCABULARY + 1).fingerprint
    save_checkpoint(
        directory, model, tokenizer, tokenizer_fingerprint=fingerprint, model_name=directory.name, kind=kind
    )
    return directory
