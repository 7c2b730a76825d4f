"""Policy and value model at the same time: only where it is of use, and without another result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from ppo_gradients import one_step, ragged_pairs, training_batch
from ppo_runs import NOWHERE, Models, read_config, settings
from rewardplane.trainer.ppo.config import PpoConfig
from rewardplane.trainer.ppo.setup import make_learner
from rewardplane.trainer.ppo.side_by_side import side_by_side

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_threads")
def test_with_two_threads_both_run_at_once_on_one_each() -> None:
    meet = threading.Barrier(2, timeout=10)

    def task() -> tuple[str, int]:
        meet.wait()  # neither gets past it alone
        return threading.current_thread().name, torch.get_num_threads()

    (first, threads), (second, others) = side_by_side(CPU, task, task)
    assert first != second
    assert (threads, others) == (1, 1)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
def test_otherwise_one_runs_after_the_other(device: torch.device) -> None:
    order: list[int] = []
    if device.type == "cuda":
        torch.set_num_threads(2)
    try:
        side_by_side(device, lambda: order.append(1), lambda: order.append(2))
    finally:
        torch.set_num_threads(1)
    assert order == [1, 2]


@pytest.mark.usefixtures("two_threads")
def test_failure_of_one_waits_for_the_other() -> None:
    done = threading.Event()

    def fails() -> None:
        raise KeyError

    for first, second in ((fails, done.set), (done.set, fails)):
        done.clear()
        with pytest.raises(KeyError):
            side_by_side(CPU, first, second)
        assert done.is_set()
        assert torch.get_num_threads() == 2


def test_a_step_has_the_same_gradients_to_the_bit(tmp_path: Path, models: Models) -> None:
    batch = training_batch(ragged_pairs(12))
    parts = (tuple(range(4)), tuple(range(4, 12)))
    steps = []
    for threads in (1, 2):
        _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
        torch.set_num_threads(threads)
        try:
            steps.append(one_step(learner, batch, parts, PpoConfig(epochs=1)))
        finally:
            torch.set_num_threads(1)
    alone, together = steps
    for ours, expected in ((together.policy, alone.policy), (together.value, alone.value)):
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
    assert together.figures == alone.figures
