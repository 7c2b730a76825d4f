"""The wall clock is set forward and back while a server works: deadlines and waits follow another one."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import rpc
from peer_forward import peer_logprobs
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.loading import load_served
from rewardplane.services.roles import ROLES
from servers import Process, served
from tiny_models import save_tiny

from rewardplane import Client

DAY_S = 86_400.0
LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
QUESTION, ANSWER = [0, 40, 41], [50, 1]


def test_weights_that_are_loaded_after_the_clock_was_set_back_are_the_newer_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that both sets of weights have begun is answered by the new ones, and ends."""
    for seed in (1, 2):
        save_tiny(tmp_path / f"policy-{seed}", "policy", seed=seed, policy_version=seed)
    expected = sum(peer_logprobs(tmp_path / "policy-2", [(QUESTION, ANSWER)])[0])
    with served("policy", tmp_path / "policy-1", max_batch_tokens=64) as server:
        engine = server.server.engine
        fingerprint = rpc.info(server.channel).tokenizer_fingerprint
        real = time.time
        with monkeypatch.context() as clock:
            clock.setattr(time, "time", lambda: real() - DAY_S)
            newer = load_served(ROLES["policy"], tmp_path / "policy-2", ServerConfig())
        forwards = []

        def swap_after_the_second(*_: object) -> None:
            forwards.append(1)
            if len(forwards) == 2:
                server.loop.call_soon_threadsafe(engine.replace, newer)

        engine.model.loaded.model.base_model.register_forward_hook(swap_after_the_second)
        pairs = [rpc.tokens([*QUESTION[:-1], 41 + i % 2], ANSWER) for i in range(200)]
        reply = rpc.score(server.channel, pairs, tokenizer_fingerprint=fingerprint)
    assert reply.model_version.policy_version == 2
    assert reply.scores[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARY.exists(), reason="needs libfaketime (Debian: faketime)")
def test_jumps_of_a_day_in_both_directions_change_nothing(
    reward_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    settings = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with monkeypatch.context() as environment:
        for name, value in settings.items():
            environment.setenv(name, value)
        process = Process("reward", reward_dir, tmp_path)
    assert os.environ.get("LD_PRELOAD") != str(LIBRARY)
    pairs = [("Was it good?", "It was."), ("Was it good?", "No.")] * 20
    try:
        with Client(process.wait_until_serving(100), timeout_s=30.0) as client:
            expected = client.score(pairs).values.tolist()
            for shift in ("+1d", "-1d", "+400d", "+0"):
                clock.write_text(shift)
                began_s = time.monotonic()
                assert client.score(pairs, timeout_s=10.0).values.tolist() == expected
                assert time.monotonic() - began_s < 10
        assert process.process.poll() is None
        process.process.terminate()
        clock.write_text("+30d")
        assert process.process.wait(30) == 0
    finally:
        process.close()
