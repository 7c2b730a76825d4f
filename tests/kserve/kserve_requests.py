"""The pairs of these tests, and requests made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2

QUESTIONS = ("What did you think of it?", "Was it good?", "Did you like the film — “Ränder”?")
ANSWERS = ("It was long.", "The film was good and I would see it again.", "Yes.")


def text_inputs(questions: Sequence[str] = QUESTIONS, answers: Sequence[str] = ANSWERS) -> list[triton.InferInput]:
    """As a user of tritonclient writes them."""
    inputs = []
    for name, texts in (("question", questions), ("answer", answers)):
        tensor = triton.InferInput(name, [len(texts), 1], "BYTES")
        inputs.append(tensor.set_data_from_numpy(np.array([[text.encode()] for text in texts], object)))
    return inputs


def ids_inputs(pairs: Sequence[Any], filler: int = -7) -> list[triton.InferInput]:
    """Right-padded with something that is no token id, so that reading it would show."""
    inputs = []
    for name, rows in (("question", [p.question_ids for p in pairs]), ("answer", [p.answer_ids for p in pairs])):
        lengths = np.array([[len(row)] for row in rows], np.int32)
        ids = np.full((len(rows), int(lengths.max())), filler, np.int32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        for tensor, array in ((f"{name}_ids", ids), (f"{name}_lengths", lengths)):
            inputs.append(triton.InferInput(tensor, list(array.shape), "INT32").set_data_from_numpy(array))
    return inputs


def packed(*elements: bytes) -> bytes:
    """BYTES elements by the specification: 4 bytes of length, little-endian, then the element."""
    return b"".join(len(e).to_bytes(4, "little") + e for e in elements)


def raw_request(
    model: str,
    inputs: Sequence[tuple[str, str, Sequence[int]]] = (("question", "BYTES", [2, 1]), ("answer", "BYTES", [2, 1])),
    raw: Sequence[bytes] = (packed(b"what", b"why"), packed(b"a", b"b")),
    outputs: Sequence[str] = (),
    **fields: Any,
) -> Any:
    """A ModelInferRequest field by field, for what tritonclient would not send."""
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=raw, **fields)
    for name, datatype, shape in inputs:
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    for name in outputs:
        request.outputs.add(name=name)
    return request
