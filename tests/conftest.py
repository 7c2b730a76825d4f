"""Checkpoints of tiny random models, and servers of them, for tests of every part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from servers import Served, served
from tiny_models import REWARD_OFFSET, save_tiny

from rewardplane.process import keep_objects

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Collections need not look at what was imported, again and again."""
    keep_objects()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="session")
def reward_dir(checkpoints: Path) -> Path:
    save_tiny(checkpoints / "reward", "reward", seed=1, chat=True, reward_offset=REWARD_OFFSET)
    return checkpoints / "reward"


@pytest.fixture(scope="session")
def sft_dir(checkpoints: Path) -> Path:
    save_tiny(checkpoints / "sft", "sft", seed=2, chat=True)
    return checkpoints / "sft"


@pytest.fixture(scope="session")
def policy_dir(checkpoints: Path) -> Path:
    save_tiny(checkpoints / "policy-7", "policy", seed=3, chat=True, policy_version=7)
    return checkpoints / "policy-7"


@pytest.fixture(scope="session")
def reward_server(reward_dir: Path) -> Iterator[Served]:
    with served("reward", reward_dir) as server:
        yield server


@pytest.fixture(scope="session")
def reference_server(sft_dir: Path) -> Iterator[Served]:
    with served("reference", sft_dir) as server:
        yield server


@pytest.fixture(scope="session")
def policy_server(policy_dir: Path) -> Iterator[Served]:
    with served("policy", policy_dir) as server:
        yield server
