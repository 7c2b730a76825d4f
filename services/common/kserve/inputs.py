"""From the tensors of a ModelInferRequest to pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardplane.wire import MalformedPair, Pair, TextPair, TokenPair

from .shared_memory import Regions, region_of
from .signature import IDS_FORM, INPUTS, TEXT_FORM
from .tensors import Tensor, TensorSpec, bad_tensor, from_contents, from_raw


def read_inputs(request: Any, regions: Regions, *, max_pairs: int, peer_is_local: bool) -> dict[str, Tensor]:
    """Reads the input tensors, by name; all have the same number of rows.

    Raises InvalidRequest for tensors that are not in the signature or not as it says, and what `region_of`
    raises.
    """
    model = request.model_name
    raw = iter(request.raw_input_contents)
    tensors: dict[str, Tensor] = {}
    for tensor in request.inputs:
        if tensor.name not in INPUTS:
            raise bad_tensor(f"unexpected inference input '{tensor.name}' for model '{model}'")
        if tensor.name in tensors:
            raise bad_tensor(f"input '{tensor.name}' already exists in request")
        spec = INPUTS[tensor.name]
        called = f"inference input '{spec.name}' for model '{model}'"
        _check_signature(tensor, spec, model, max_pairs)
        if tensor.HasField("contents"):
            _check_only_contents(request, tensor)
            tensors[spec.name] = from_contents(tensor.contents, spec, tensor.shape, called)
        elif (in_memory := region_of(tensor, regions, peer_is_local)) is not None:
            region, offset, byte_size = in_memory
            tensors[spec.name] = from_raw(region.read(offset, byte_size), spec, tensor.shape, called)
        else:
            tensors[spec.name] = from_raw(_next(raw, spec.name, model), spec, tensor.shape, called)
    if next(raw, None) is not None:
        raise bad_tensor(
            f"got {len(request.raw_input_contents)} raw_input_contents for model '{model}', expected one for each "
            f"of the {len(request.inputs)} inputs that is not in shared memory"
        )
    _check_batch(tensors, model)
    return tensors


def read_pairs(tensors: Mapping[str, Tensor], model: str) -> list[Pair | MalformedPair]:
    """One pair a row, or what is wrong with it. Raises InvalidRequest unless the inputs are a whole form."""
    names = set(tensors)
    if names == {spec.name for spec in TEXT_FORM}:
        return [
            _text_pair(question, answer)
            for question, answer in zip(*(tensors[spec.name].values for spec in TEXT_FORM), strict=True)
        ]
    if names == {spec.name for spec in IDS_FORM}:
        return [_token_pair(*row) for row in zip(*(_rows(tensors[spec.name]) for spec in IDS_FORM), strict=True)]
    forms = " or ".join(str([spec.name for spec in form]) for form in (TEXT_FORM, IDS_FORM))
    raise bad_tensor(f"model '{model}' takes the inputs {forms}; got {sorted(names)}")


def _next(raw: Iterator[bytes], name: str, model: str) -> bytes:
    data = next(raw, None)
    if data is None:
        raise bad_tensor(f"unable to find data for input tensor '{name}' for model '{model}' in request.")
    return data


def _check_only_contents(request: Any, tensor: Any) -> None:
    where = f"for '{tensor.name}' for model '{request.model_name}'"
    if request.raw_input_contents:
        raise bad_tensor(f"contents field must not be specified when using raw_input_contents {where}")
    if "shared_memory_region" in tensor.parameters:
        raise bad_tensor(f"unexpected 'content' provided when using shared memory {where}")


def _check_signature(tensor: Any, spec: TensorSpec, model: str, max_pairs: int) -> None:
    if tensor.datatype != spec.datatype:
        raise bad_tensor(
            f"inference input '{spec.name}' data-type is '{tensor.datatype}', but model '{model}' expects "
            f"'{spec.datatype}'"
        )
    shape = list(tensor.shape)
    dims = [1] if spec.flat and len(shape) == 1 else shape[1:]
    fits = len(dims) == len(spec.dims) and all(
        size == wanted or (wanted == -1 and size > 0) for size, wanted in zip(dims, spec.dims, strict=True)
    )
    if not shape or shape[0] < 1 or not fits:
        raise bad_tensor(
            f"unexpected shape for input '{spec.name}' for model '{model}'. Expected {[-1, *spec.dims]}, "
            f"got {shape}; the first dimension counts pairs"
        )
    if shape[0] > max_pairs:
        raise bad_tensor(f"inference request batch-size must be <= {max_pairs} for '{model}'")


def _check_batch(tensors: Mapping[str, Tensor], model: str) -> None:
    sizes = {name: tensor.shape[0] for name, tensor in tensors.items()}
    for name, size in sizes.items():
        if size != next(iter(sizes.values())):
            raise bad_tensor(f"input '{name}' batch size does not match other inputs for '{model}': {sizes}")


def _text_pair(question: bytes, answer: bytes) -> Pair | MalformedPair:
    try:
        return TextPair(_decode("question", question), _decode("answer", answer))
    except MalformedPair as error:
        return error


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedPair(f"the {name} is not valid UTF-8 at byte {error.start}") from None


def _rows(tensor: Tensor) -> NDArray[np.int32]:  # [n, dims]; a flat [n] becomes [n, 1]
    assert isinstance(tensor.values, np.ndarray), "the signature says INT32"
    return tensor.values.reshape(tensor.shape[0], -1)


def _token_pair(
    question_ids: NDArray[np.int32],  # [Q], right-padded
    question_length: NDArray[np.int32],  # [1]
    answer_ids: NDArray[np.int32],  # [A], right-padded
    answer_length: NDArray[np.int32],  # [1]
) -> Pair | MalformedPair:
    for name, length, width in (
        ("question", question_length, len(question_ids)),
        ("answer", answer_length, len(answer_ids)),
    ):
        if not 1 <= length[0] <= width:
            return MalformedPair(f"{name}_lengths is {length[0]}; with {name}_ids this wide it is from 1 to {width}")
    return TokenPair(question_ids[: question_length[0]], answer_ids[: answer_length[0]])
