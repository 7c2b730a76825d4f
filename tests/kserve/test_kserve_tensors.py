"""The BYTES codec against tritonclient's, and against any bytes at all."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from rewardplane.services.common.kserve.tensors import decode_bytes, encode_bytes
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from rewardplane.errors import InvalidRequest


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_tritonclient_reads_what_is_written_and_writes_what_is_read(elements):
    theirs = serialize_byte_tensor(np.array(elements, object))
    assert decode_bytes(theirs.item() if theirs.size else b"", len(elements), "x") == elements
    assert deserialize_bytes_tensor(encode_bytes(elements)).tolist() == elements


@given(st.binary(max_size=200), st.integers(0, 20))
@example(b"\xff\xff\xff\xff", 1)
@example(b"\x00\x00\x00\x00", 0)
def test_any_bytes_are_read_whole_or_refused(data, count):
    try:
        elements = decode_bytes(data, count, "x")
    except InvalidRequest:
        return
    assert len(elements) == count
    assert encode_bytes(elements) == data
