"""`rewardplane report`: a page of any run's directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rewardplane.trainer.config import ConfigError, Section
from rewardplane.trainer.report.command import main
from rewardplane.trainer.report.run_directory import report_of
from rewardplane.trainer.run_record import RUN, read_record, write_record


class Settings(Section):
    learning_rate: float = 0.5


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ppo_run(directory: Path, *, evaluations: Sequence[int] = (0, 2)) -> Path:
    write(
        directory / "metrics.jsonl",
        [
            {"update": u, "kl_nats": 2.0 * u, "score": 1.0 - u, "seconds_sample": 3.0, "seconds_update": 1.0,
             "seconds_total": 4.0}
            for u in range(2)
        ] + [{"update": 2, "eval_score": 0.5, "seconds_evaluate": 2.0}],
    )  # fmt: skip
    samples = [
        {"update": u, "question": f"q{n}", "answer": f"a{n} of {u}", "score": float(u)}
        for u in evaluations
        for n in (0, 1)
    ]
    write(directory / "samples.jsonl", samples)
    write_record(directory, "ppo", 2, Settings())
    return directory


def test_samples_of_the_first_and_the_last_evaluation_are_side_by_side(tmp_path: Path) -> None:
    report = report_of([ppo_run(tmp_path / "run", evaluations=(0, 1, 2))])
    assert report.sides == ("update 0", "update 2")
    first, second = report.samples
    assert (first.question, first.before.text, first.before.points) == ("q0", "a0 of 0", 0.0)
    assert second.after is not None
    assert (second.after.text, second.after.points) == ("a1 of 2", 2.0)


def test_one_evaluation_has_one_side(tmp_path: Path) -> None:
    report = report_of([ppo_run(tmp_path / "run", evaluations=(0,))])
    assert [sample.after for sample in report.samples] == [None, None]
    assert main([str(tmp_path / "run")]) == 0


def test_tables_say_where_figures_and_time_went(tmp_path: Path) -> None:
    headline, times = report_of([ppo_run(tmp_path / "run")]).tables
    assert ("KL to the reference", "0", "2", "0", "2") in headline.rows
    assert ("Score of the reward model", "1", "0", "0", "1") in headline.rows
    # 2 x 3 s of sampling, 2 x 1 s of updates and one evaluation of 2 s: 10 s over 2 updates.
    assert times.rows == (
        ("sample", "6.0", "60 %", "3.000"),
        ("update", "2.0", "20 %", "1.000"),
        ("evaluate", "2.0", "20 %", "1.000"),
    )


def test_the_page_has_configuration_versions_and_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ppo_run(tmp_path / "run")
    assert main([str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    for part in ("<h1>PPO: run</h1>", "2 of 2 updates.", "learning_rate", "torch", 'id="kl_nats:run"', "a1 of 2"):
        assert part in page


def test_another_run_lies_over_the_curves(tmp_path: Path) -> None:
    runs = [ppo_run(tmp_path / "run"), ppo_run(tmp_path / "control")]
    assert main([*map(str, runs)]) == 0
    page = (runs[0] / "report.html").read_text()
    assert 'id="kl_nats:control"' in page
    assert "beside control" in page


def test_a_directory_of_an_older_version_is_known_by_its_figures(tmp_path: Path) -> None:
    run = ppo_run(tmp_path / "run")
    (run / RUN).unlink()
    report = report_of([run])
    assert report.title == "PPO: run"
    assert report.configuration == report.versions == ()
    write(tmp_path / "rm" / "metrics.jsonl", [{"update": 0, "loss": 0.5, "accuracy": 0.75}])
    assert report_of([tmp_path / "rm"]).title == "Reward model: rm"
    write(tmp_path / "sft" / "metrics.jsonl", [{"update": 0, "loss": 0.5}])
    assert report_of([tmp_path / "sft"]).title == "Fine-tuning: sft"


def test_another_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"holds no metrics\.jsonl"):
        report_of([tmp_path])
    assert main([str(tmp_path)]) == 1
    assert "holds no metrics.jsonl" in capsys.readouterr().err


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path / "new", "reward", 7, Settings(learning_rate=0.25))
    record = read_record(tmp_path / "new")
    assert record is not None
    assert (record.kind, record.updates, record.configuration) == ("reward", 7, {"learning_rate": 0.25})
    assert {"Python", "torch", "machine"} <= record.versions.keys()
    assert [path.name for path in (tmp_path / "new").iterdir()] == [RUN]
