"""What a run leaves behind: metrics.jsonl, TensorBoard scalars, and lines for people."""

import io
import json
import math
from pathlib import Path

import pytest
import torch
from rewardplane.trainer.progress import RunLog, read_metrics
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def plain_console() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=60)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def run_updates(directory: Path, first: int, last: int, *, resumed_update: int | None = None) -> None:
    with RunLog(directory, 100, "test", resumed_update=resumed_update, console=plain_console()) as log:
        for update in range(first, last):
            log.write(update, {"loss": update / 2})


def test_every_update_is_a_json_line(tmp_path: Path) -> None:
    with RunLog(tmp_path, 2, "test", console=plain_console()) as log:
        log.write(0, {"loss": torch.tensor(0.5), "tokens": 7})
        log.write(1, {"loss": math.nan})
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"update": 0, "loss": 0.5, "tokens": 7},
        {"update": 1, "loss": None},
    ]


def test_tensorboard_has_the_same_names_and_numbers(tmp_path: Path) -> None:
    run_updates(tmp_path, 0, 4)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)]


def test_a_new_run_starts_empty(tmp_path: Path) -> None:
    run_updates(tmp_path, 0, 4)
    run_updates(tmp_path, 0, 2)
    assert [row["update"] for row in read_metrics(tmp_path)] == [0, 1]


def test_a_resumed_run_drops_what_it_does_again(tmp_path: Path) -> None:
    run_updates(tmp_path, 0, 6)
    run_updates(tmp_path, 4, 8, resumed_update=3)
    assert [row["update"] for row in read_metrics(tmp_path)] == list(range(8))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == list(range(8))


def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path: Path) -> None:
    run_updates(tmp_path, 0, 2)
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"update": 2, "lo')
    assert [row["update"] for row in read_metrics(tmp_path)] == [0, 1]
    run_updates(tmp_path, 2, 3, resumed_update=1)
    assert [row["update"] for row in read_metrics(tmp_path)] == [0, 1, 2]


def test_without_a_terminal_plain_lines_come_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    console = plain_console()
    with RunLog(tmp_path, 20, "[sft]", console=console) as log:
        for update in range(20):
            log.write(update, {"loss": 0.5, "tokens_per_s": 12345.6}, show=["loss", "tokens_per_s", "absent"])
            now += 1.0
    # At once, then every 5 seconds, and the last update in any case.
    lines = printed(console).splitlines()
    assert [line.split()[1] for line in lines] == ["1/20", "6/20", "11/20", "16/20", "20/20"]
    assert lines[0] == "[sft] 1/20  loss 0.5  tokens_per_s 12,346"


def test_on_a_terminal_there_is_one_bar(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with RunLog(tmp_path, 2, "training", console=console) as log:
        for update in range(2):
            log.write(update, {"loss": 0.25 * update}, show=["loss"])
    assert "2/2" in printed(console)
    assert "loss 0.25" in printed(console)
    assert printed(console).count("\n") == 1
