"""Quotas and shares of the queue, on a real server."""

from __future__ import annotations

import time

import grpc
import numpy as np
import pytest
import rpc
from access_files import AccessFiles
from held_compute import hold_compute
from rewardplane.services.common.access.quota import TokenBucket
from servers import served

from rewardplane import Client, QuotaExceeded, RetryPolicy
from rewardplane.v1 import scoring_service_pb2, scoring_service_pb2_grpc
from rewardplane.wire import TokenPair

SCORE = 'capabilities = ["score"]'


def tokens(n):
    return TokenPair(np.full(n - 1, 40, np.int32), np.array([41], np.int32))


@pytest.fixture
def limited(reward_dir, tmp_path):
    """Team a may have 100 tokens a second and 100 at once; team b what it likes."""
    files = AccessFiles(tmp_path, a="", b="")
    files.write("", a=f"{SCORE}\ntokens_per_second = 100\nburst_tokens = 100", b=SCORE)
    with served("reward", reward_dir, access=files.path) as server:
        yield server, files


def test_a_bucket_lets_debts_be_paid_first():
    bucket = TokenBucket(rate=10.0, burst=100.0)
    assert bucket.wait_s(1000) == 0.0  # larger than any level: served when full
    bucket.take(150)
    assert bucket.wait_s(20) == pytest.approx(7.0, abs=0.1)  # from -50 to 20, at 10 a second


def test_a_quota_is_refused_as_a_quota_and_says_when_to_come_again(limited):
    server, files = limited
    once = RetryPolicy(max_attempts=1)
    with (
        Client(server.target, metadata=files.metadata("a"), retry=once) as a,
        Client(server.target, metadata=files.metadata("b"), retry=once) as b,
    ):
        a.score([tokens(100)])
        with pytest.raises(QuotaExceeded) as refused:
            a.score([tokens(50)])
        b.score([tokens(200)] * 4)
    assert refused.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.reason == "QUOTA_EXCEEDED"
    assert 0.3 < refused.value.retry_after_s <= 0.5
    assert server.metrics()["rewardplane_refused_total", ("QUOTA_EXCEEDED",)] == 1


def test_the_client_waits_for_its_quota(limited):
    server, files = limited
    with Client(server.target, metadata=files.metadata("a"), timeout_s=20) as a:
        started_s = time.monotonic()
        for _ in range(3):
            a.score([tokens(100)])
        assert time.monotonic() - started_s > 1.9  # 300 tokens, 100 of them saved up, at 100 a second


def test_a_quota_goes_on_when_the_access_file_is_replaced(limited):
    server, files = limited
    once = RetryPolicy(max_attempts=1)
    with Client(server.target, metadata=files.metadata("a"), retry=once) as a:
        a.score([tokens(200)])
        files.path.write_text(files.path.read_text() + "# changed\n")
        time.sleep(1.1)
        with pytest.raises(QuotaExceeded):  # 100 to pay back, of which 110 are
            a.score([tokens(100)])


def test_a_flood_cannot_fill_the_queue_for_others(reward_dir, tmp_path):
    files = AccessFiles(tmp_path, flood=SCORE, quiet=SCORE)
    with served("reward", reward_dir, access=files.path, max_queue_tokens=4000) as server:
        info = rpc_info(server, files)
        stub = scoring_service_pb2_grpc.ScoringServiceStub(server.channel)
        request = scoring_service_pb2.ScoreAnswersRequest(
            pairs=[rpc.tokens([40 + i] * 199, [41]) for i in range(5)], tokenizer_fingerprint=info
        )
        release = hold_compute(server)
        floods = [stub.ScoreAnswers.future(request, metadata=files.metadata("flood"), timeout=30) for _ in range(8)]
        refused = [future for future in floods if _refused(future)]
        quiet = stub.ScoreAnswers.future(request, metadata=files.metadata("quiet"), timeout=30)
        time.sleep(0.3)
        release.set()
        assert len(quiet.result().scores) == 5
        # 1000 tokens a request, of a queue of 4000: the third would leave less free than the flood has.
        assert len(floods) - len(refused) == 2
        assert {rpc.read_failure(future.exception()).reason for future in refused} == {"QUEUE_FULL"}


def _refused(future):
    try:
        future.result(timeout=0.5)
    except grpc.FutureTimeoutError:
        return False
    except grpc.RpcError:
        return True
    return False


def rpc_info(server, files):
    with Client(server.target, metadata=files.metadata("flood")) as client:
        return client.info().tokenizer_fingerprint
