"""`rewardplane watch`: a run or a server in the terminal."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from rewardplane.trainer.config import Section
from rewardplane.trainer.metrics.config import MetricsConfig
from rewardplane.trainer.metrics.exporter import RunMetrics
from rewardplane.trainer.report.command import app as report_app
from rewardplane.trainer.run_record import write_record
from rewardplane.trainer.watch.command import app, main
from rewardplane.trainer.watch.scrape import Sample, Scrape, quantile, rate
from rewardplane.trainer.watch.sparkline import sparkline
from servers import Served
from typer.main import get_command

from rewardplane import Client


def histogram(at_s: float, *counts: float) -> Scrape:
    """Of the bounds 1, 2 and infinity."""
    samples = [Sample("x_bucket", {"le": le}, n) for le, n in zip(("1", "2", "+Inf"), counts, strict=True)]
    return Scrape(at_s, tuple(samples))


def test_a_quantile_is_that_of_the_time_in_between() -> None:
    before, now = histogram(0.0, 100, 100, 100), histogram(1.0, 110, 130, 130)
    # 10 up to 1 and 20 from 1 to 2: the middle one, the 15th, is the 5th of 20 in the second bucket.
    assert quantile(before, now, 0.5, "x") == pytest.approx(1.25)
    assert quantile(now, now, 0.5, "x") is None
    assert quantile(histogram(0.0, 0, 0, 0), histogram(1.0, 0, 0, 5), 0.99, "x") == 2.0  # beyond the last bound


def test_a_rate_is_a_second_and_never_negative() -> None:
    before, now = (Scrape(at, (Sample("n_total", {}, value),)) for at, value in ((10.0, 50.0), (14.0, 70.0)))
    assert rate(before, now, "n_total") == 5.0
    assert rate(now, Scrape(20.0, (Sample("n_total", {}, 3.0),)), "n_total") == 0.0  # started again


def test_a_sparkline_rises_with_its_values_and_keeps_its_width() -> None:
    assert sparkline([0.0, 1.0, 2.0, 7.0], 10) == "▁▂▃█"
    assert sparkline([3.0, 3.0], 10) == "▄▄"
    assert sparkline([], 10) == ""
    assert sparkline([0.0, 0.0, 7.0, 7.0], 2) == "▁█"
    assert len(sparkline([float(i % 7) for i in range(1000)], 40)) == 40


def test_a_run_is_shown_from_its_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "ppo-7"
    run.mkdir()
    rows = [{"update": u, "kl_nats": u / 2, "seconds_sample": 3.0, "seconds_total": 60.0} for u in range(3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_record(run, "ppo", 10, Section())
    assert main([str(run), "--once"]) == 0
    shown = capsys.readouterr().out
    assert "ppo-7  ppo  update 3 of 10  about 0:07:00 left" in shown
    assert "kl_nats" in shown
    assert "▁▅█" in shown
    assert "sample 3.00 s" in shown


def test_a_run_that_has_ended_ends_the_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"update": 0, "loss": 1.5, "seconds_update": 1.0}) + "\n")
    write_record(tmp_path, "sft", 1, Section())
    assert main([str(tmp_path)]) == 0
    assert "ended" in capsys.readouterr().out


def test_a_run_is_shown_from_its_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    with RunMetrics(MetricsConfig(port=0), "ppo", updates=4, device="cpu") as metrics:
        metrics.observe(1, {"kl_nats": 0.125, "seconds_update": 1.0})
        assert main([f"http://127.0.0.1:{metrics.port}/metrics", "--once"]) == 0
    shown = capsys.readouterr().out
    assert "ppo  update 2 of 4" in shown
    assert "0.125" in shown


def test_a_server_is_shown_with_what_it_does(reward_server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()

    def ask() -> None:
        with Client(reward_server.target) as client:
            while not stop.is_set():
                client.score([("How was it?", "Good."), ("How was it?", "Dull.")])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert main([f"http://127.0.0.1:{reward_server.server.metrics_port}/metrics", "--once", "--every", "1"]) == 0
    finally:
        stop.set()
        asking.join(30)
    shown = capsys.readouterr().out
    assert "reward  reward (float32), policy version 0" in shown
    for label in ("calls", "pairs", "saved by sharing", "busy", "queue", "wait", "99th percentile", "refused", "MiB"):
        assert label in shown


def test_what_cannot_be_watched_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--once"]) == 1
    assert main(["http://127.0.0.1:1/metrics", "--once"]) == 1
    said = capsys.readouterr().err
    assert "holds no metrics.jsonl" in said
    assert "http://127.0.0.1:1/metrics gives no metrics" in said


def test_every_flag_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    flags = [option for each in (app, report_app) for p in get_command(each).params for option in p.opts]
    assert {"--once", "--every", "--out"} <= set(flags)
    assert not [flag for flag in flags if flag.startswith("--") and f"`{flag}" not in page]
