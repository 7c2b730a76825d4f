"""LogprobService, served by the reference and by a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rpc
from peer_forward import peer_logprobs
from servers import Served, served
from tiny_models import FAMILIES, save_tiny

PAIRS = [([0, 40, 41, 42], [50, 51, 1]), ([0, 7], [9]), (list(range(3, 60)), list(range(60, 99)))]


@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
def test_log_probs_agree_with_a_float64_forward(reference_server: Served, sft_dir: Path, temperature: float) -> None:
    fingerprint = rpc.info(reference_server.channel).tokenizer_fingerprint
    reply = rpc.logprobs(
        reference_server.channel,
        [rpc.tokens(*pair) for pair in PAIRS],
        tokenizer_fingerprint=fingerprint,
        temperature=temperature,
    )
    for got, want in zip(reply.answer_logprobs, peer_logprobs(sft_dir, PAIRS, temperature), strict=True):
        np.testing.assert_allclose(rpc.floats(got.logprobs), want, atol=1e-4)


def test_unset_temperature_is_1(reference_server: Served, sft_dir: Path) -> None:
    fingerprint = rpc.info(reference_server.channel).tokenizer_fingerprint
    reply = rpc.logprobs(reference_server.channel, [rpc.tokens(*PAIRS[0])], tokenizer_fingerprint=fingerprint)
    np.testing.assert_allclose(
        rpc.floats(reply.answer_logprobs[0].logprobs), peer_logprobs(sft_dir, PAIRS[:1])[0], atol=1e-4
    )


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_log_probs_of_every_family(tmp_path: Path, family: str) -> None:
    directory = tmp_path / family
    save_tiny(directory, "sft", family)
    with served("reference", directory) as server:
        reply = rpc.logprobs(
            server.channel,
            [rpc.tokens(*pair) for pair in PAIRS],
            tokenizer_fingerprint=rpc.info(server.channel).tokenizer_fingerprint,
        )
    for got, want in zip(reply.answer_logprobs, peer_logprobs(directory, PAIRS), strict=True):
        np.testing.assert_allclose(rpc.floats(got.logprobs), want, atol=1e-4)


def test_callers_of_two_temperatures_do_not_mix(policy_server: Served, policy_dir: Path) -> None:
    fingerprint = rpc.info(policy_server.channel).tokenizer_fingerprint
    replies = [
        rpc.score_later(policy_server.channel, [rpc.tokens(*PAIRS[0])], tokenizer_fingerprint=fingerprint),
        rpc.logprobs(
            policy_server.channel,
            [rpc.tokens(*PAIRS[0])],
            tokenizer_fingerprint=fingerprint,
            temperature=0.5,
        ),
    ]
    at_1, at_half = (peer_logprobs(policy_dir, PAIRS[:1], t)[0] for t in (1.0, 0.5))
    assert replies[0].result().scores[0] == pytest.approx(sum(at_1), abs=1e-4)
    np.testing.assert_allclose(rpc.floats(replies[1].answer_logprobs[0].logprobs), at_half, atol=1e-4)
