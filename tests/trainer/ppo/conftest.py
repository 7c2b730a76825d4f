"""A tiny policy and reward model, both judges as processes, and one run that nothing disturbed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from judge_process import JudgeProcess
from ppo_runs import AHEAD, Judges, Models, read_config, settings
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import run_ppo
from tiny_models import REWARD_OFFSET, save_tiny

Configure = Callable[[Path, Mapping[str, Any]], PpoRunConfig]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """With 41 of 320 tokens as stop tokens, answers of a random policy are 8 tokens long on average."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "sft", "sft", seed=2, eos_token_id=[1, *range(40, 80)])
    save_tiny(folder / "reward", "reward", seed=1, reward_offset=REWARD_OFFSET)
    return Models(folder / "sft", folder / "reward")


@pytest.fixture(scope="session")
def judge_processes(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, JudgeProcess]]:
    folder = tmp_path_factory.mktemp("judges")
    started = {
        "reward": JudgeProcess("reward", models.reward, folder),
        "reference": JudgeProcess("reference", models.sft, folder),
    }
    yield started
    for process in started.values():
        process.kill()


@pytest.fixture(scope="session")
def judges(judge_processes: dict[str, JudgeProcess]) -> Judges:
    return Judges(judge_processes["reward"].target, judge_processes["reference"].target)


@pytest.fixture(scope="session")
def configure(models: Models, judges: Judges) -> Configure:
    """Gives a function that writes a run's files into a directory, with overrides by dotted key."""
    return lambda directory, overrides: read_config(directory, settings(directory, models, judges, overrides))


@pytest.fixture(scope="session")
def undisturbed(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> PpoRunConfig:
    """The settings of a run of 5 updates that has ended as it should."""
    config = configure(tmp_path_factory.mktemp("undisturbed"), {})
    run_ppo(config)
    return config


@pytest.fixture(scope="session")
def undisturbed_ahead(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> PpoRunConfig:
    """The same of a run that samples ahead."""
    config = configure(tmp_path_factory.mktemp("undisturbed_ahead"), AHEAD)
    run_ppo(config)
    return config
