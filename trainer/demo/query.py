"""Asks a served policy the way other teams do: with the thin client, and with tritonclient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tritonclient.grpc

from rewardplane import Client


def query_policy(address: str, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
    """Scores of each pair: over rewardplane.v1, and over KServe v2."""
    with Client(address) as client:
        scores = client.score(pairs)
        name = scores.model_version.model_name
    triton = tritonclient.grpc.InferenceServerClient(address)
    try:
        inputs = []
        for field, texts in zip(("question", "answer"), zip(*pairs, strict=True), strict=True):
            tensor = tritonclient.grpc.InferInput(field, [len(pairs), 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[text.encode()] for text in texts], dtype=object))
            inputs.append(tensor)
        reply = triton.infer(name, inputs).as_numpy("score")
    finally:
        triton.close()
    return [(float(a), float(b)) for a, b in zip(scores.values, reply[:, 0], strict=True)]
