"""Attention of tokens that each see other keys: as one kernel over tokens and heads.

A tensor of all keys would be padded, copied for each answer to a question and copied again for each token. The kernel
reads keys where they are: those of the question, which its answers share, from the first real one on, and the answer's
own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .kernels import _exp, _inline, _kernel, _number, _rotate_row, _stored


@_kernel
def keep_keys(
    query: Any, key: Any, value: Any, cos: Any, sin: Any, turns: bool,
    slots: Any, places: Any, keys: Any, values: Any, first: int, end: int,
) -> None:  # fmt: skip
    """Turns queries and keys, if they are to, and puts keys and values where they are read from.

    query: [R, H * D]; key, value: [R, G * D]; cos, sin: [R, D], whose halves are equal.
    slots, places: int64[R], where keys and values, [B, G, A, D], get those of row i.
    """
    groups, width = keys.shape[1], keys.shape[3]
    one = np.float32(1.0)
    for i in range(first, end):
        if turns:
            _rotate_row(query, cos, sin, one, query, i)
            _rotate_row(key, cos, sin, one, key, i)
        slot, place = slots[i], places[i]
        for group in range(groups):
            own_key, own_value, at = keys[slot, group, place], values[slot, group, place], group * width
            for j in range(width):
                own_key[j] = key[i, at + j]
            for j in range(width):
                own_value[j] = value[i, at + j]


@_inline
def _score(query: Any, i: int, head: int, keys: Any, first: int, end: int, scores: Any, place: int, top: Any) -> Any:
    """scores[place:] = keys[first:end] @ query[i, head:]. Returns the largest, or `top` if that is larger."""
    width, shift = keys.shape[1], place - first
    fours = first + (end - first) // 4 * 4
    for t in range(first, fours, 4):  # four sums at a time: one alone waits for itself
        a = b = c = d = np.float32(0.0)
        for j in range(width):
            x = _number(query[i, head + j])
            a += x * _number(keys[t, j])
            b += x * _number(keys[t + 1, j])
            c += x * _number(keys[t + 2, j])
            d += x * _number(keys[t + 3, j])
        scores[shift + t], scores[shift + t + 1], scores[shift + t + 2], scores[shift + t + 3] = a, b, c, d
        ab, cd = a if a > b else b, c if c > d else d
        abcd = ab if ab > cd else cd
        top = abcd if abcd > top else top
    for t in range(fours, end):
        a = np.float32(0.0)
        for j in range(width):
            a += _number(query[i, head + j]) * _number(keys[t, j])
        scores[shift + t] = a
        top = a if a > top else top
    return top


@_inline
def _add(values: Any, first: int, end: int, weights: Any, place: int, total: Any, result: Any) -> None:
    """result += weights[place:] / total @ values[first:end]"""
    for t in range(first, end):
        weight = weights[place + t - first] / total
        for j in range(values.shape[1]):
            result[j] += weight * _number(values[t, j])


@_kernel
def attend_one_query(
    query: Any, scaling: Any,
    questions: Any, starts: Any, ends: Any, question_keys: Any, question_values: Any,
    slots: Any, length: int, own_keys: Any, own_values: Any,
    result: Any, first: int, end: int,
) -> None:  # fmt: skip
    """result = softmax(scaling * query @ keys) @ values, over a part of the question and the answer so far.

    query, result: [R, H * D]; question_keys, question_values: [n, G, T, D], G divides H.
    questions: int64[R], of which starts[question] to ends[i] are seen; starts: int64[n], ends: int64[R].
    slots: int64[R], whose first `length` of own_keys, own_values, [B, G, A, D], are seen.
    """
    groups, room, width = own_keys.shape[1:]
    heads = query.shape[1] // width
    weights = np.empty(question_keys.shape[2] + room, np.float32)
    sums = np.empty(width, np.float32)
    for i in range(first, end):
        question, slot = questions[i], slots[i]
        start, stop = starts[question], ends[i]
        asked = stop - start
        for head in range(heads):
            group, at = head * groups // heads, head * width
            top = np.float32(-np.inf)
            top = _score(query, i, at, question_keys[question, group], start, stop, weights, 0, top)
            top = _score(query, i, at, own_keys[slot, group], 0, length, weights, asked, top)
            total = np.float32(0.0)
            for t in range(asked + length):
                weight = _exp((weights[t] - top) * scaling)
                weights[t] = weight
                total += weight
            sums[:] = np.float32(0.0)
            _add(question_values[question, group], start, stop, weights, 0, total, sums)
            _add(own_values[slot, group], 0, length, weights, asked, total, sums)
            for j in range(width):
                result[i, at + j] = _stored(sums[j], query[i, at + j])
