"""What Prometheus reads of a run."""

from __future__ import annotations

import io
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch.distributed
from prometheus_client.parser import text_string_to_metric_families
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.judges import Outages
from rewardplane.trainer.metrics.config import MetricsConfig
from rewardplane.trainer.metrics.exporter import RunMetrics
from rewardplane.trainer.metrics.written import Written
from rewardplane.trainer.progress import RunLog
from rich.console import Console

ANY_PORT = MetricsConfig(port=0)


def run_metrics(config: MetricsConfig = ANY_PORT) -> RunMetrics:
    return RunMetrics(config, "ppo", updates=10, device="cpu")


def scrape(metrics: RunMetrics) -> dict[tuple[str, str], float]:
    """By name without prefix and the value of the only label."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return {
        (sample.name.removeprefix("rewardplane_trainer_"), next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def write(metrics: RunMetrics, directory: Path, updates: Mapping[int, Mapping[str, float]]) -> None:
    """Through the log of a run, as trainers do."""
    resumed = min(updates) - 1 if min(updates) else None
    console = Console(file=io.StringIO(), force_terminal=False)
    with RunLog(directory, 10, "ppo", resumed_update=resumed, metrics=metrics, console=console) as log:
        for update, figures in updates.items():
            log.write(update, figures)


def test_gauges_hold_the_last_figure_and_counters_the_sum(tmp_path: Path) -> None:
    line = {"kl_nats": 1.0, "episodes": 8.0, "tokens": 100, "seconds_sample": 0.5, "seconds_update": 0.25}
    with run_metrics() as metrics:
        write(metrics, tmp_path, {0: line, 1: line | {"kl_nats": 3.0}})
        seen = scrape(metrics)
    assert seen["kl_nats", ""] == 3.0
    assert seen["episodes_total", ""] == 16.0
    assert seen["tokens_total", ""] == 200.0
    assert seen["stage_seconds_total", "sample"] == 1.0
    assert seen["stage_seconds_total", "update"] == 0.5
    assert (seen["updates_total", ""], seen["update", ""], seen["planned_updates", ""]) == (2.0, 2.0, 10.0)
    assert seen["last_update_timestamp_seconds", ""] == pytest.approx(time.time(), abs=60)
    assert seen["info", "ppo"] == 1.0


def test_the_last_evaluation_is_no_update(tmp_path: Path) -> None:
    with run_metrics() as metrics:
        write(metrics, tmp_path, {0: {"seconds_update": 1.0}, 1: {"eval_score": 2.5, "seconds_evaluate": 1.0}})
        seen = scrape(metrics)
    assert seen["updates_total", ""] == seen["update", ""] == 1.0
    assert seen["eval_score", ""] == 2.5


def test_a_run_that_goes_on_has_the_updates_before_and_counts_its_own(tmp_path: Path) -> None:
    with run_metrics() as metrics:
        write(metrics, tmp_path, {6: {"seconds_update": 1.0}})
        seen = scrape(metrics)
    assert (seen["update", ""], seen["updates_total", ""]) == (7.0, 1.0)


def test_what_a_run_does_not_measure_is_no_series(tmp_path: Path) -> None:
    with run_metrics() as metrics:
        write(metrics, tmp_path, {0: {"loss": 0.5, "eval_helpful": 0.75, "judge_retries": 3.0}})
        seen = scrape(metrics)
    assert seen["loss", ""] == 0.5
    assert seen["figure", "eval_helpful"] == 0.75  # of a judge of somebody's own
    assert not {"kl_nats", "value_loss", "judge_retries_total"} & {name for name, _ in seen}


def test_an_outage_is_seen_while_no_update_comes() -> None:
    outages = Outages()
    with run_metrics() as metrics:
        metrics.watch(Written(), {"reward": outages, "reference": Outages()})
        outages.add(100.0, 103.5)
        seen = scrape(metrics)
    assert seen["judge_outage_seconds_total", "reward"] == 3.5
    assert seen["judge_retries_total", "reward"] == 1.0
    assert seen["judge_outage_seconds_total", "reference"] == 0.0


def test_a_checkpoint_is_seen_when_it_is_whole() -> None:
    written = Written()
    with run_metrics() as metrics:
        metrics.watch(written)
        with written.timed("checkpoint"):
            assert ("last_checkpoint_timestamp_seconds", "") not in scrape(metrics)
        assert scrape(metrics)["last_checkpoint_timestamp_seconds", ""] == pytest.approx(time.time(), abs=60)
        assert scrape(metrics)["write_seconds_total", "checkpoint"] > 0.0


def test_a_checkpoint_that_could_not_be_written_does_not_count() -> None:
    written = Written()
    with pytest.raises(OSError, match="full"), written.timed("checkpoint"):
        raise OSError("the disk is full")
    assert written.last_checkpoint_at_s == 0.0


def test_the_end_waits_for_one_scrape_which_sees_it() -> None:
    metrics = run_metrics(MetricsConfig(port=0, last_scrape_s=30.0))
    ended = threading.Event()
    opened = threading.Event()

    def run() -> None:
        with metrics:
            opened.set()
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    opened.wait(10)
    while not (seen := scrape(metrics))["finished", ""]:
        time.sleep(0.01)
    assert seen["finished", ""] == 1.0
    assert ended.wait(10)


def test_a_run_that_failed_does_not_wait() -> None:
    metrics = run_metrics(MetricsConfig(port=0, last_scrape_s=600.0))
    with pytest.raises(RuntimeError, match="lost"), metrics:
        raise RuntimeError("lost")


def test_a_port_that_is_taken_is_named() -> None:
    with run_metrics() as first, pytest.raises(ConfigError, match=f"metrics.port = {first.port}"):
        run_metrics(MetricsConfig(port=first.port)).__enter__()


def test_nothing_is_served_without_a_port_or_on_another_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_metrics(MetricsConfig()) as metrics:
        assert metrics.port is None
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    with run_metrics() as metrics:
        assert metrics.port is None
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with run_metrics() as metrics:
        assert metrics.port
