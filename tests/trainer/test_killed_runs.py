"""SFT and reward runs that are killed go on, and end as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from rewardplane.trainer.config import ConfigError, load_config
from rewardplane.trainer.optim import Optimizer, OptimizerConfig
from rewardplane.trainer.progress import METRICS, read_metrics
from rewardplane.trainer.reward.config import RewardConfig
from rewardplane.trainer.reward.train import run_reward
from rewardplane.trainer.sft.config import SftConfig
from rewardplane.trainer.sharding import Trained
from rewardplane.trainer.states import RunStates
from tiny_models import save_tiny

from rewardplane.modeling.models import load_causal_model

WORDS = ["good", "long", "seen", "again", "hoped", "end"]
TIMEOUT_S = 120.0


def write_run(directory: Path) -> Path:
    save_tiny(directory / "sft", "sft")
    rows = [
        {
            "question": f"Was it {word}?",
            "answers": [f"{word} {other}" for other in WORDS],
            "ratings": [1, 2, 3, 3, 5, 0],
        }
        for word in WORDS * 8
    ]
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = directory / "reward.toml"
    config.write_text(
        f'output = "{directory}/run"\nbatch_questions = 4\nepochs = 3\nsave_every = 2\n'
        f'[model]\npath = "{directory}/sft"\n[data]\ntrain = "{directory}/train.jsonl"\n'
        f"[optimizer]\nlearning_rate = 1e-3\n"
    )
    return config


def test_a_killed_reward_run_ends_with_the_bits_of_an_undisturbed_one(tmp_path: Path) -> None:
    config = load_config(write_run(tmp_path), RewardConfig)
    undisturbed = run_reward(config.model_copy(update={"output": tmp_path / "undisturbed"}))
    code = "import sys; from rewardplane.__main__ import main; sys.exit(main())"
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "reward", "--config", str(tmp_path / "reward.toml")],
        env={**os.environ, **threads}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + TIMEOUT_S
        while not (metrics := tmp_path / "run" / METRICS).exists() or len(metrics.read_text().splitlines()) < 7:
            assert process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "run" / "checkpoint").exists()
    resumed = run_reward(config)
    assert resumed.manifest.files["model.safetensors"] == undisturbed.manifest.files["model.safetensors"]
    assert resumed.reward_offset == undisturbed.reward_offset
    assert not (tmp_path / "run" / "states").exists()
    own, other = (read_metrics(path) for path in (tmp_path / "run", tmp_path / "undisturbed"))
    assert [row["update"] for row in own] == list(range(36))  # 48 questions, 4 a step, 3 times; none twice
    assert [row["loss"] for row in own] == [row["loss"] for row in other]


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Trained, Optimizer]:
    save_tiny(tmp_path / "sft", "sft")
    model = load_causal_model(tmp_path / "sft", torch.float32).model
    optimizer = Optimizer([model], OptimizerConfig(learning_rate=1e-2), total_updates=10)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step(0)
    return Trained(model), optimizer


def test_only_the_newest_state_is_kept_and_nothing_half_written(
    tmp_path: Path, trained: tuple[Trained, Optimizer]
) -> None:
    states = RunStates(tmp_path / "run", 2, "settings")
    (tmp_path / "run" / "states" / ".state.torn").mkdir(parents=True)
    assert states.resume(*trained) == 0  # a torn state is none
    for done in range(1, 6):
        states.save_when_due(*trained, done)
    assert [path.name for path in (tmp_path / "run" / "states").iterdir()] == ["00000004"]
    assert states.resume(*trained) == 4
    states.remove()
    assert states.resume(*trained) == 0


def test_other_settings_do_not_go_on(tmp_path: Path, trained: tuple[Trained, Optimizer]) -> None:
    RunStates(tmp_path, 1, "settings").save_when_due(*trained, 1)
    with pytest.raises(ConfigError, match="other settings that was interrupted"):
        RunStates(tmp_path, 1, "others").resume(*trained)


def test_places_do_not_count_as_settings(tmp_path: Path) -> None:
    config = load_config(write_run(tmp_path), RewardConfig)
    moved = config.model_copy(update={"output": tmp_path / "elsewhere", "save_every": 5})
    assert moved.numbers_digest() == config.numbers_digest()
    assert config.model_copy(update={"seed": 1}).numbers_digest() != config.numbers_digest()
    sft = SftConfig.model_validate({
        "output": "run", "from_scratch": {}, "data": {"train": "train.jsonl"}
    })  # fmt: skip
    assert sft.model_copy(update={"epochs": 2}).numbers_digest() != sft.numbers_digest()
