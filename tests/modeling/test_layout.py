"""Which segments of a packed row attention computes together, and that the result is the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from one_by_one import build, ids, sequence
from torch.testing import assert_close

from rewardplane.modeling.forward import packed_hidden
from rewardplane.modeling.packing import pack
from rewardplane.wire import TokenPair


def long_and_short() -> list[TokenPair]:
    """Questions and answers on both sides of 128 tokens, where a segment is on its own, and of multiples of 16."""
    rng = np.random.default_rng(0)
    shared = ids(rng, 130)
    return [
        *(TokenPair(shared, ids(rng, n)) for n in (1, 15, 16, 17, 140)),
        *(TokenPair(ids(rng, n), ids(rng, 20)) for n in (10, 12, 17, 18, 33)),
    ]


def test_like_segments_are_attended_together() -> None:
    rng = np.random.default_rng(0)
    # 24 to 32 tokens, in one segment each, fill up to 32; 33 fill up to 48.
    layout = pack([TokenPair(ids(rng, 12), ids(rng, n)) for n in (12, 20, 16, 21)], round_to=1).layout
    assert [(b.numbers, b.own, b.keys, b.mask) for b in layout.bundles] == [
        ((0, 1, 2), 32, 32, None),
        ((3,), 48, 48, None),
    ]
    assert layout.alone == ()


def test_every_segment_sees_what_is_above_it_and_itself() -> None:
    packed = pack(long_and_short())
    layout = packed.layout
    assert layout.alone  # 130 and 140 tokens
    assert sorted([*layout.alone, *(i for b in layout.bundles for i in b.numbers)]) == list(range(len(layout.segments)))
    queries, keys = layout.query_rows.tolist(), layout.key_rows.tolist()
    for bundle in layout.bundles:
        for place, number in enumerate(bundle.numbers):
            segment = layout.segments[number]
            above = [packed.segments[a] for a in segment.ancestors]
            own, queries = queries[: bundle.own], queries[bundle.own :]
            seen, keys = keys[: bundle.keys], keys[bundle.keys :]
            assert own[: segment.length] == list(range(segment.start, segment.start + segment.length))
            for t in range(segment.length):
                wanted = [row for s in above for row in range(s.start, s.start + s.length)]
                wanted += range(segment.start, segment.start + t + 1)
                visible = np.arange(bundle.keys) <= t
                if bundle.mask is not None:
                    visible = (bundle.mask[place, 0, t] == 0).numpy()
                assert np.array(seen)[visible].tolist() == wanted


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
def test_long_and_short_segments_give_what_transformers_gives(family: str) -> None:
    attention = "eager" if family == "gemma2" else "sdpa"
    model, own = (
        build(family, causal=False, dtype=torch.float64, attention=name, max_position_embeddings=512)
        for name in ("packed", attention)
    )
    pairs = long_and_short()
    packed = pack(pairs)
    hidden = packed_hidden(model.base_model, packed)
    assert "layout" in vars(packed)  # made when attention wanted it, and the GPU's was not
    assert "varlen" not in vars(packed)
    expected = [own.base_model(input_ids=sequence(pair)).last_hidden_state[0] for pair in pairs]
    assert_close(hidden[packed.last_index], torch.stack([states[-1] for states in expected]), atol=1e-6, rtol=0)
    weights = torch.linspace(-1, 1, hidden.shape[1], dtype=torch.float64)
    (hidden[packed.last_index] @ weights).sum().backward()
    sum(states[-1] @ weights for states in expected).backward()
    for (name, parameter), other in zip(model.named_parameters(), own.parameters(), strict=True):
        if other.grad is not None:
            assert_close(parameter.grad, other.grad, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: n + m)
