"""A first round that is done, with servers in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rewardplane.trainer.rounds.label import label_round
from rewardplane.trainer.rounds.place import Round
from rewardplane.trainer.rounds.sample import sample_round
from rewardplane.trainer.rounds.servers import Serve
from rewardplane.trainer.rounds.start import start_round
from rewardplane.trainer.rounds.train import train_policy, train_reward
from servers import served
from word_models import save_word_model, write_settings


@pytest.fixture(scope="session")
def sft(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_word_model(tmp_path_factory.mktemp("words") / "sft")


@pytest.fixture(scope="session")
def serve() -> Serve:
    @contextmanager
    def in_this_process(role: str, checkpoint: Path) -> Iterator[str]:
        with served(role, checkpoint) as server:
            yield server.target

    return in_this_process


@pytest.fixture(scope="session")
def labelled(sft: Path, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Round:
    """A first round, ranked by the simulated ranker; nobody changes it."""
    directory = tmp_path_factory.mktemp("rounds")
    made = start_round(str(directory / "round1"), None, write_settings(directory, sft), ())
    return label_round(sample_round(made, serve), simulate=True)


@pytest.fixture(scope="session")
def first_round(labelled: Round, serve: Serve) -> Round:
    """The same round, trained; nobody changes it."""
    return train_policy(train_reward(labelled), serve)
