"""What a caller is told when it is not the pairs that are wrong."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import grpc
import pytest
import rpc
import torch
from peer_forward import peer_score
from servers import Served, served
from tiny_models import make_model, save_tiny

from rewardplane.modeling.checkpoint import BadCheckpoint

PAIR = rpc.text("a", "b")


def test_other_weights_than_expected(reward_server: Served) -> None:
    failed = rpc.failure(lambda: rpc.score(reward_server.channel, [PAIR], expected_checkpoint_digest="0" * 64))
    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.reason == "CHECKPOINT_DIGEST_MISMATCH"
    served_digest = rpc.info(reward_server.channel).model_version.checkpoint_digest
    assert served_digest in failed.message
    assert rpc.score(reward_server.channel, [PAIR], expected_checkpoint_digest=served_digest).scores


def test_another_tokenizer_than_the_servers(reward_server: Served) -> None:
    failed = rpc.failure(lambda: rpc.score(reward_server.channel, [PAIR], tokenizer_fingerprint="0" * 64))
    assert failed.code is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.reason == "TOKENIZER_MISMATCH"


def test_a_capability_that_the_role_lacks(reward_server: Served) -> None:
    failed = rpc.failure(lambda: rpc.logprobs(reward_server.channel, [PAIR]))
    assert failed.code is grpc.StatusCode.UNIMPLEMENTED
    assert failed.reason == "CAPABILITY_NOT_SERVED"


def test_a_score_that_is_not_finite_is_not_sent(tmp_path: Path) -> None:
    """GPT-2 with one embedding so large that its layer norm overflows: a NaN for pairs with that token alone."""
    overflowing = 300
    model = make_model("reward", "gpt2")
    with torch.no_grad():
        model.transformer.wte.weight[overflowing] = 3e38
    save_tiny(tmp_path / "rm", "reward", model=model)
    good, bad = ([5, 6, 7], [8, 9]), ([5, 6, 7], [overflowing, 9])
    with served("reward", tmp_path / "rm") as server:
        pins = {"tokenizer_fingerprint": rpc.info(server.channel).tokenizer_fingerprint}
        failing, working = (
            rpc.score_later(server.channel, [rpc.tokens(*good), rpc.tokens(*last)], **pins) for last in (bad, good)
        )
        failed = rpc.failure(failing.result)
        assert failed.code is grpc.StatusCode.INTERNAL
        assert failed.reason == "NON_FINITE_SCORE"
        assert "pairs[1]" in failed.message
        expected = peer_score(tmp_path / "rm", [good])[0]
        assert list(working.result().scores) == pytest.approx([expected] * 2, abs=1e-5)
        assert server.metrics()["rewardplane_non_finite_total", ()] == 1


@pytest.mark.parametrize("kind", ["reward", "sft"])
def test_a_model_with_nan_weights_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    model = make_model(kind)  # type: ignore[arg-type]
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    save_tiny(tmp_path / "broken", kind, model=model)  # type: ignore[arg-type]
    role = "reward" if kind == "reward" else "reference"
    with pytest.raises(BadCheckpoint, match=r"broken .*not finite"), served(role, tmp_path / "broken"):
        pass


def test_a_model_of_the_wrong_kind_is_refused(tmp_path: Path, sft_dir: Path, reward_dir: Path) -> None:
    with pytest.raises(BadCheckpoint, match="LlamaForCausalLM"), served("reward", sft_dir):
        pass
    with pytest.raises(BadCheckpoint, match="LlamaForSequenceClassification"), served("policy", reward_dir):
        pass
    save_tiny(tmp_path / "value", "value")
    with pytest.raises(BadCheckpoint, match="value checkpoint"), served("reward", tmp_path / "value"):
        pass


def test_a_flood_is_answered_or_told_to_come_again(reward_dir: Path) -> None:
    """Far more than fits the queue: every call is answered or refused, and every refusal is counted."""
    pairs = [rpc.text(f"question {i}", "answer " * 30) for i in range(20)]
    with served("reward", reward_dir, max_queue_tokens=3000, max_batch_tokens=256) as server:
        calls = [rpc.score_later(server.channel, pairs) for _ in range(60)]
        refused = 0
        for call in calls:
            try:
                assert len(call.result().scores) == 20
            except grpc.RpcError as error:
                failed = rpc.read_failure(error)
                assert failed.code is grpc.StatusCode.UNAVAILABLE
                assert failed.reason == "QUEUE_FULL"
                assert failed.retry_after_s is not None
                assert 0 < failed.retry_after_s <= 30
                refused += 1
        metrics = server.metrics()
    assert 0 < refused < 60
    assert metrics["rewardplane_refused_total", ("QUEUE_FULL",)] == refused
    method = ("rewardplane.v1.ScoringService", "ScoreAnswers")
    code, name, service = "UNAVAILABLE", method[1], method[0]
    assert metrics["grpc_server_handled_total", (code, name, service)] == refused
    assert metrics["grpc_server_handled_total", ("OK", name, service)] == 60 - refused
    assert metrics["grpc_server_started_total", (name, service)] == 60
    assert metrics["rewardplane_queue_tokens", ()] == 0


def wait_for_queue(server: Served, least_tokens: float) -> float:
    """Gives the tokens that wait, once there are that many."""
    end_s = time.monotonic() + 20
    while (tokens := server.metrics()["rewardplane_queue_tokens", ()]) < least_tokens:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    return tokens


def test_callers_that_hang_up_leave_the_queue(reward_dir: Path) -> None:
    with served("reward", reward_dir, max_batch_tokens=64) as server:
        release = threading.Event()
        batcher = server.server.engine._compute.batcher
        asyncio.run_coroutine_threadsafe(batcher.run_alone(lambda: release.wait(30)), server.loop)
        calls = [rpc.score_later(server.channel, [PAIR] * 10)]
        tokens = wait_for_queue(server, 1)
        calls += [rpc.score_later(server.channel, [PAIR] * 10) for _ in range(4)]
        wait_for_queue(server, 5 * tokens)
        for call in calls[1:]:
            call.cancel()
        late = rpc.failure(lambda: rpc.score(server.channel, [PAIR], timeout_s=0.2))
        assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
        release.set()
        assert len(calls[0].result().scores) == 10
        assert rpc.score(server.channel, [PAIR]).scores
        metrics = server.metrics()
    dropped = {reason: metrics["rewardplane_dropped_total", (reason,)] for reason in ("caller_gone", "deadline")}
    # A caller's deadline ends a little before the server's copy of it, so the late one may be seen to hang up first.
    assert dropped in ({"caller_gone": 40, "deadline": 1}, {"caller_gone": 41, "deadline": 0})
    assert metrics["rewardplane_batch_pairs_sum", ()] == 11


def test_a_method_nobody_has_heard_of(reward_server: Served) -> None:
    call = reward_server.channel.unary_unary("/rewardplane.v1.NoService/NoMethod")
    failed = rpc.failure(lambda: call(b"", timeout=10))
    assert failed.code is grpc.StatusCode.UNIMPLEMENTED
    assert failed.reason == "CAPABILITY_NOT_SERVED"
