"""New checkpoints are picked up while calls are answered."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import grpc
import pytest
import rpc
from peer_forward import peer_logprobs
from servers import Served, served
from tiny_models import make_tokenizer, save_tiny

QUESTION, ANSWER = [0, 40, 41], [50, 1]


def wait_for_version(server: Served, policy_version: int) -> None:
    end_s = time.monotonic() + 30
    while server.metrics()["rewardplane_policy_version", ()] != policy_version:
        assert time.monotonic() < end_s, "the new checkpoint was not picked up"
        time.sleep(0.02)


def test_a_swap_under_load_loses_nothing_and_replies_name_their_weights(tmp_path: Path) -> None:
    versions = (10, 9, 11)  # 9 is older than what is served, and stays unused
    folder = tmp_path / "published"
    digests = {}
    expected = {}
    for version in versions:
        manifest = save_tiny(tmp_path / f"policy-{version}", "policy", seed=version, policy_version=version)
        digests[manifest.digest] = version
        expected[version] = sum(peer_logprobs(tmp_path / f"policy-{version}", [(QUESTION, ANSWER)])[0])
    folder.mkdir()
    shutil.move(tmp_path / "policy-10", folder)
    replies: list[tuple[int, list[float]]] = []
    stop = threading.Event()
    with served("policy", folder, follow_seconds=0.05, max_batch_tokens=64) as server:
        pins = {"tokenizer_fingerprint": rpc.info(server.channel).tokenizer_fingerprint}

        def call_until_stopped() -> None:
            with grpc.insecure_channel(server.target) as channel:
                while not stop.is_set():  # a failed call ends the thread, and the test
                    reply = rpc.score(channel, [rpc.tokens(QUESTION, ANSWER)] * 40, **pins)
                    replies.append((digests[reply.model_version.checkpoint_digest], list(reply.scores)))

        callers = [threading.Thread(target=call_until_stopped) for _ in range(4)]
        for caller in callers:
            caller.start()
        time.sleep(0.3)
        shutil.move(tmp_path / "policy-9", folder)
        time.sleep(0.3)
        shutil.move(tmp_path / "policy-11", folder)
        wait_for_version(server, 11)
        time.sleep(0.3)
        alive = [caller.is_alive() for caller in callers]
        stop.set()
        for caller in callers:
            caller.join()
        stale = rpc.failure(
            lambda: rpc.score(
                server.channel,
                [rpc.text("a", "b")],
                expected_checkpoint_digest=next(d for d, v in digests.items() if v == 10),
            )
        )
    assert all(alive)
    assert {version for version, _ in replies} == {10, 11}
    for version, scores in replies:
        assert scores == pytest.approx([expected[version]] * 40, abs=1e-4)
    assert stale.reason == "CHECKPOINT_DIGEST_MISMATCH"


def test_a_bad_checkpoint_does_not_replace_a_good_one(tmp_path: Path) -> None:
    save_tiny(tmp_path / "policy-1", "policy", policy_version=1)
    with served("policy", tmp_path, follow_seconds=0.05) as server:
        save_tiny(tmp_path / "policy-2", "policy", policy_version=2, eos_token_id=5)  # another stop token
        end_s = time.monotonic() + 30
        while server.metrics()["rewardplane_model_load_failures_total", ()] == 0:
            assert time.monotonic() < end_s
            time.sleep(0.02)
        time.sleep(0.2)
        assert server.metrics()["rewardplane_model_load_failures_total", ()] == 1  # and is not tried again
        assert rpc.score(server.channel, [rpc.text("a", "b")]).model_version.policy_version == 1
        save_tiny(tmp_path / "policy-3", "policy", policy_version=3)
        wait_for_version(server, 3)


def test_a_link_that_moves_is_followed(tmp_path: Path) -> None:
    for version in (1, 2):
        save_tiny(tmp_path / f"policy-{version}", "policy", seed=version, policy_version=version)
    latest = tmp_path / "latest"
    latest.symlink_to("policy-1")
    with served("policy", latest, follow_seconds=0.05) as server:
        assert rpc.info(server.channel).model_version.policy_version == 1
        (tmp_path / "next").symlink_to("policy-2")
        (tmp_path / "next").replace(latest)
        wait_for_version(server, 2)
        assert rpc.info(server.channel).tokenizer_fingerprint
        assert make_tokenizer().vocab_size == rpc.info(server.channel).vocabulary_size
