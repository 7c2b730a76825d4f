"""ModelStatistics, as perf_analyzer reads them before and after a run."""

from __future__ import annotations

import asyncio
import time

import pytest
from kserve_requests import text_inputs
from tritonclient.utils import InferenceServerException


def statistics_of(client, **request):
    statistics = client.get_inference_statistics(**request).model_stats
    assert len(statistics) == 1
    return statistics[0]


def test_counts_grow_with_requests_and_agree(client):
    before = statistics_of(client, model_name="tiny-rm")
    for _ in range(3):
        client.infer("tiny-rm", text_inputs())
    after = statistics_of(client, model_name="tiny-rm", model_version="1")
    assert (after.name, after.version) == ("tiny-rm", "1")
    assert after.inference_count - before.inference_count == 3 * 3  # pairs
    assert after.execution_count - before.execution_count == 3
    for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        grown = getattr(after.inference_stats, part).count - getattr(before.inference_stats, part).count
        assert grown == 3, part
    assert abs(after.last_inference / 1e3 - time.time()) < 30


def test_the_parts_of_a_request_add_up_to_less_than_the_whole(client):
    client.infer("tiny-rm", text_inputs())
    stats = statistics_of(client).inference_stats
    parts = stats.queue.ns + stats.compute_input.ns + stats.compute_infer.ns + stats.compute_output.ns
    assert 0 < parts <= stats.success.ns
    assert stats.compute_infer.ns > stats.compute_input.ns


def test_the_wait_in_the_queue_is_not_computing(client, reward):
    before = statistics_of(client).inference_stats
    client.infer("tiny-rm", text_inputs())
    idle = statistics_of(client).inference_stats
    busy = asyncio.run_coroutine_threadsafe(_keep_busy(reward.server.engine, 0.5), reward.loop)
    client.infer("tiny-rm", text_inputs())
    busy.result(10)
    after = statistics_of(client).inference_stats
    assert idle.queue.ns - before.queue.ns < 0.1e9
    assert 0.3e9 < after.queue.ns - idle.queue.ns < 0.6e9
    assert after.compute_infer.ns - idle.compute_infer.ns < 0.2e9


async def _keep_busy(engine, seconds):
    await engine._compute.batcher.run_alone(lambda: time.sleep(seconds))


def test_failures_are_counted_apart(client):
    before = statistics_of(client)
    with pytest.raises(InferenceServerException):
        client.infer("tiny-rm", text_inputs()[:1])
    after = statistics_of(client)
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert after.inference_stats.success.count == before.inference_stats.success.count
    assert after.inference_count == before.inference_count


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("nothing", "", "requested model 'nothing' is not available"),
        ("tiny-rm", "9", "requested model version is not available for model 'tiny-rm'"),
        ("tiny-rm", "x", "version should be an integral value > 0"),
    ],
)
def test_unknown_models_are_invalid_as_for_triton(client, name, version, words):
    with pytest.raises(InferenceServerException, match=words) as caught:
        client.get_inference_statistics(name, version)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
