"""`rewardplane pod`: how a training process ends, in the codes that the Job's podFailurePolicy knows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from manifests import DEPLOY
from rewardplane.trainer.launch.command import pod, run_in_process
from rewardplane.trainer.launch.outcome import exit_code

from rewardplane.errors import DigestMismatch, ServerFault, Unauthenticated, Unavailable

CONFIG = DEPLOY / "overlays" / "dev-cpu" / "config"
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def sft(tmp_path: Path) -> Path:
    """Settings of a run that ends in a second."""
    path = tmp_path / "sft.toml"
    text = (CONFIG / "sft.toml").read_text()
    text = text.replace("/etc/rewardplane", str(CONFIG)).replace("/models", str(tmp_path))
    path.write_text(text.replace("epochs = 20", "epochs = 1"))
    return path


def test_a_run_that_is_done_ends_with_0(sft: Path) -> None:
    assert run_in_process(["sft", "--config", str(sft)]) == 0
    assert (sft.parent / "sft" / "checkpoint" / "manifest.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["sft", "--confg", "x"],  # a flag that there is not
        ["dpo", "--config", "x"],
        ["sft", "--config", "/nowhere.toml"],
        ["sft", "--config", "{sft}", "--set", "epochs=0"],
        ["sft", "--config", "{sft}", "--set", "data.train=/nowhere.jsonl"],
    ],
)
def test_what_would_fail_again_ends_with_64(sft: Path, arguments: list[str]) -> None:
    assert run_in_process([word.replace("{sft}", str(sft)) for word in arguments]) == 64


def test_a_disk_that_is_not_there_ends_with_75(sft: Path) -> None:
    blocked = sft.parent / "file"
    blocked.touch()
    assert run_in_process(["sft", "--config", str(sft), "--set", f"output={blocked}/run"]) == 75


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DigestMismatch("another judge"), 64),
        (Unauthenticated("who are you"), 64),
        (Unavailable("later"), 75),
        (ServerFault("not finite"), 75),
        (MemoryError(), 75),
        (RuntimeError("CUDA error"), 75),
    ],
)
def test_errors_of_judges_and_machines(error: Exception, status: int) -> None:
    assert exit_code(error) == status


def test_a_judge_that_stays_away_ends_with_75(sft: Path, tmp_path: Path) -> None:
    assert run_in_process(["sft", "--config", str(sft)]) == 0
    ppo = tmp_path / "ppo.toml"
    text = (CONFIG / "ppo.toml").read_text().replace("/etc/rewardplane", str(CONFIG))
    text = text.replace("/models/reward", str(tmp_path / "sft")).replace("/models", str(tmp_path))
    ppo.write_text(re.sub(r"dns:///\w+\.rlhf\.svc\.cluster\.local:8500", "127.0.0.1:1", text))
    ppo.write_text(ppo.read_text().replace(f'[value]\npath = "{tmp_path}/sft/checkpoint"\n', ""))
    away = [f"--set={judge}.{key}" for judge in ("reward", "reference") for key in ("outage_limit_s=0", "timeout_s=1")]
    assert run_in_process(["ppo", "--config", str(ppo), *away, f"--set=output.directory={tmp_path}/run"]) == 75


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert pod(["--help"]) == 0
    said = capsys.readouterr().out
    documented = re.findall(r"^\| (\d+) \|", (DOCS / "kubernetes.md").read_text(), re.MULTILINE)
    assert documented == ["0", "64", "75", "143"]
    assert re.findall(r"^ +(\d+)  ", said, re.MULTILINE) == documented


def test_sigterm_ends_a_run_with_143_and_leaves_nothing_half_written(sft: Path) -> None:
    """In a process of its own, as in a container."""
    sft.write_text(sft.read_text().replace("epochs = 1", "epochs = 100000"))
    code = "import sys; from rewardplane.__main__ import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "pod", "train", "sft", "--config", str(sft)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        metrics = sft.parent / "sft" / "metrics.jsonl"
        end_s = time.monotonic() + 60
        while not metrics.exists() or not metrics.read_text():
            assert process.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        process.kill()
    assert not (sft.parent / "sft" / "checkpoint").exists()
    assert not [path for path in (sft.parent / "sft").iterdir() if path.name.startswith(".")]
