"""Cuts a batch into requests that a server accepts."""

from __future__ import annotations

from collections.abc import Sequence

from rewardplane.errors import MessageTooLarge

# Protobuf's own limit on a message, and the most that a gRPC channel can be told to accept.
LARGEST_MESSAGE_BYTES = 2**31 - 1


def split(
    sizes_bytes: Sequence[int],  # [n] serialized size of each item
    *,
    max_items: int,  # 0 is no limit
    max_bytes: int,  # 0 is no limit
    overhead_bytes: int,  # what a request weighs without items
    noun: str,
) -> list[range]:
    """Gives consecutive ranges that cover range(n) in order, each as long as the limits allow.

    Raises MessageTooLarge when one item alone is over max_bytes.
    """
    max_items = max_items or len(sizes_bytes)
    max_bytes = min(max_bytes or LARGEST_MESSAGE_BYTES, LARGEST_MESSAGE_BYTES)
    ranges: list[range] = []
    start, filled = 0, overhead_bytes
    for i, size in enumerate(sizes_bytes):
        framed = _framed(size)
        if overhead_bytes + framed > max_bytes:
            raise MessageTooLarge(
                f"{noun}[{i}] makes a request of {overhead_bytes + framed} bytes; "
                f"this server accepts {max_bytes} (ModelInfo.max_request_bytes)"
            )
        if i > start and (i - start == max_items or filled + framed > max_bytes):
            ranges.append(range(start, i))
            start, filled = i, overhead_bytes
        filled += framed
    if start < len(sizes_bytes):
        ranges.append(range(start, len(sizes_bytes)))
    return ranges


def _framed(size: int) -> int:
    """Bytes of a repeated message field's item: tag (1 byte below field 16), length as varint, content."""
    return 1 + max(1, -(-size.bit_length() // 7)) + size
