"""The commands as people type them, with the servers that they start themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rewardplane.trainer.rounds.command import main
from word_models import write_settings


@pytest.mark.slow
def test_a_round_by_its_commands(sft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, place = write_settings(tmp_path, sft), str(tmp_path / "round1")
    assert main(["start", place, "--config", str(settings), "--set", "sample.match_lengths=true"]) == 0
    assert main(["sample", place]) == 0
    assert main(["label", place]) == 1
    assert "0 of 20 rankings are there" in capsys.readouterr().err
    assert main(["label", place, "--simulate"]) == 0
    assert main(["train", place]) == 0
    assert main(["status", place, "--html", str(tmp_path / "pages" / "status.html")]) == 0
    assert f"next: rewardplane round start NEXT --parent {place}" in capsys.readouterr().out
    assert (tmp_path / "pages" / "status.html").exists()
    assert main(["compare", place, place, "--judge", "reward", "--answers", "2"]) == 0
    found = json.loads((tmp_path / "round1" / "comparison.json").read_text())
    assert (found["judge"], found["win_rate"]["value"], found["win_rate"]["count"]) == ("RM 1", 0.5, 8)
    assert "win rate" in capsys.readouterr().out
