"""What a model of a KServe v2 server takes and gives, read from its metadata and configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .patience import JudgeMisfit

QUESTION, ANSWER, SCORE = "question", "answer", "score"
DIGEST = "checkpoint_digest"
"""The parameter by which our own servers name their weights."""
PAIRS_WITHOUT_LIMIT = 64
"""Pairs in a request to a model that names no max_batch_size."""


@dataclass(frozen=True)
class Signature:
    """A model that can judge."""

    version: str
    """The newest one that is served; "" where the server has no versions."""
    max_pairs: int
    ranks: dict[str, int]
    """Of each input: 2 is [n, 1], 1 is [n]."""
    digest: str
    """"" where the server does not name its weights."""

    def shape(self, name: str, pairs: int) -> list[int]:
        return [pairs, 1][: self.ranks[name]]


def read_signature(metadata: Any, config: Any, target: str) -> Signature:
    """From a ModelMetadataResponse and a ModelConfig, or None where there is none. Raises JudgeMisfit."""
    inputs = {tensor.name: tensor for tensor in metadata.inputs}
    outputs = {tensor.name: tensor for tensor in metadata.outputs}
    for name, tensors, datatype in ((QUESTION, inputs, "BYTES"), (ANSWER, inputs, "BYTES"), (SCORE, outputs, "FP32")):
        if name not in tensors or tensors[name].datatype != datatype:
            listed = ", ".join(f"{t.name} {t.datatype}{list(t.shape)}" for t in (*metadata.inputs, *metadata.outputs))
            raise JudgeMisfit(f"{target} has no {name} of type {datatype}: it takes and gives {listed}")
    others = [tensor.name for tensor in config.input if not tensor.optional] if config is not None else []
    unknown = sorted(set(others) - {QUESTION, ANSWER})
    if unknown:
        raise JudgeMisfit(f"{target} also wants the inputs {', '.join(unknown)}; a judge sends {QUESTION} and {ANSWER}")
    shapes = {name: list(inputs[name].shape) for name in (QUESTION, ANSWER)}
    for name, shape in shapes.items():
        if len(shape) not in (1, 2) or shape[0] not in (-1, 1) or shape[1:] not in ([], [1], [-1]):
            raise JudgeMisfit(f"{target} takes {name} of shape {shape}; a judge sends [-1, 1] or [-1]")
    return Signature(
        version=max(metadata.versions, key=_number, default=""),
        max_pairs=_max_pairs(shapes, config),
        ranks={name: len(shape) for name, shape in shapes.items()},
        digest=config.parameters[DIGEST].string_value if config is not None and DIGEST in config.parameters else "",
    )


def _max_pairs(shapes: dict[str, list[int]], config: Any) -> int:
    if any(shape[0] == 1 for shape in shapes.values()):
        return 1
    return int(config.max_batch_size) if config is not None and config.max_batch_size else PAIRS_WITHOUT_LIMIT


def _number(version: str) -> int:
    return int(version) if version.isdigit() else 0
