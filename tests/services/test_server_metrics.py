"""What Prometheus reads of a server, beside what the tests of each part look at."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import rpc
from prometheus_client import CollectorRegistry
from rewardplane.services.common.access.caller import Caller, set_caller
from rewardplane.services.common.callers import MOST_IDENTITIES, CallerMetrics
from servers import Served, served
from tiny_models import save_tiny

QUESTION, ANSWER = [0, 40, 41, 42], [50, 51, 1]


@pytest.fixture
def server(tmp_path: Path) -> Served:
    save_tiny(tmp_path / "judge", "reward", seed=4)
    with served("reward", tmp_path / "judge", max_queue_tokens=500) as running:
        yield running


def test_calls_and_tokens_are_counted_by_caller(server: Served) -> None:
    fingerprint = rpc.info(server.channel).tokenizer_fingerprint
    rpc.score(server.channel, [rpc.tokens(QUESTION, ANSWER)] * 2, tokenizer_fingerprint=fingerprint)
    metrics = server.metrics()
    assert metrics["rewardplane_caller_calls_total", ("anonymous",)] == 1  # what asks for the model's info is no work
    assert metrics["rewardplane_caller_tokens_total", ("anonymous",)] == 2 * (4 + 3)


def test_scores_are_counted_by_model_and_sign(server: Served) -> None:
    fingerprint = rpc.info(server.channel).tokenizer_fingerprint
    pairs = [rpc.tokens(QUESTION, [token, 1]) for token in range(40, 60)]
    scores = list(rpc.score(server.channel, pairs, tokenizer_fingerprint=fingerprint).scores)
    metrics = server.metrics()
    (name,) = {labels[0] for metric, labels in metrics if metric == "rewardplane_scores_count"}
    assert metrics["rewardplane_scores_count", (name,)] == 20
    assert metrics["rewardplane_scores_bucket", ("0.0", name)] == sum(score <= 0 for score in scores)
    for sign, magnitudes in (("positive", [s for s in scores if s > 0]), ("negative", [-s for s in scores if s < 0])):
        assert magnitudes
        assert metrics["rewardplane_score_points_total", (name, sign)] == pytest.approx(sum(magnitudes), rel=1e-5)


def test_memory_queue_and_load_are_shown(server: Served) -> None:
    metrics = server.metrics()
    used, peak, total = (metrics["rewardplane_device_memory_bytes", (kind,)] for kind in ("used", "peak", "total"))
    assert 1e7 < used <= peak <= total
    assert peak == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, rel=0.1)
    assert metrics["rewardplane_queue_limit_tokens", ()] == 500
    assert metrics["rewardplane_queue_pairs", ()] == 0
    assert time.time() - 60 < metrics["rewardplane_model_load_timestamp_seconds", ()] < time.time()
    assert metrics["process_resident_memory_bytes", ()] > 1e7
    digest = rpc.info(server.channel).model_version.checkpoint_digest
    assert f"{int(metrics['rewardplane_model_digest', ()]):012x}" == digest[:12]


def test_callers_beyond_the_first_hundred_share_one_series() -> None:
    registry = CollectorRegistry()
    metrics = CallerMetrics(registry)
    for number in range(1000):
        set_caller(Caller(f"team-{number}"))
        metrics.count_call()
        metrics.count_tokens(3)
    set_caller(Caller("team-7"))
    metrics.count_call()
    samples = [s for family in registry.collect() for s in family.samples if s.name == "rewardplane_caller_calls_total"]
    assert len(samples) == MOST_IDENTITIES + 1
    assert registry.get_sample_value("rewardplane_caller_calls_total", {"identity": "team-7"}) == 2
    assert registry.get_sample_value("rewardplane_caller_tokens_total", {"identity": "others"}) == 3 * 900
