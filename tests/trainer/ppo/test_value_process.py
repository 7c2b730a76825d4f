"""The value model in a process of its own: the same numbers, and an end whenever the run ends."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import torch
from conftest import Configure
from other_tokenizer import save_with_other_tokenizer
from ppo_runs import NOWHERE, Judges, Models, assert_same_run, read_config, settings, write_config
from rewardplane.trainer.data import BadData
from rewardplane.trainer.ppo import setup
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.setup import make_learner
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.ppo.value_learner import ValueLearner
from rewardplane.trainer.ppo.value_process import ValueProcess, ValueProcessGone, _sendable


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_a_run_has_the_same_bits_with_it_and_without(tmp_path: Path, configure: Configure) -> None:
    for name, own_process in (("with", True), ("without", False)):
        (tmp_path / name).mkdir()
        run_ppo(configure(tmp_path / name, {"updates": 3, "value.own_process": own_process}))
    assert_same_run(tmp_path / "with" / "run", tmp_path / "without" / "run")


@pytest.mark.parametrize("first", [True, False])
def test_a_run_goes_on_with_it_or_without(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig, first: bool
) -> None:
    for updates, own_process in ((2, first), (5, not first)):  # it is no setting of the numbers
        run_ppo(configure(tmp_path, {"updates": updates, "value.own_process": own_process}))
    assert_same_run(tmp_path / "run", undisturbed.output.directory)


@pytest.mark.parametrize(
    ("threads", "overrides"),
    [(1, {}), (2, {"value.own_process": False})],
    ids=["one thread", "not wanted"],
)
def test_it_runs_only_where_it_is_of_use(
    tmp_path: Path, models: Models, threads: int, overrides: dict[str, object]
) -> None:
    torch.set_num_threads(threads)
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, overrides)))
    assert isinstance(learner.value, ValueLearner)


def test_a_large_model_stays_in_the_run(tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_of_weights = (models.reward / "model.safetensors").stat().st_size
    for largest, kind in ((bytes_of_weights, ValueProcess), (bytes_of_weights - 1, ValueLearner)):
        monkeypatch.setattr(setup, "LARGEST_BYTES", largest)
        _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
        learner.close()
        assert isinstance(learner.value, kind)


def test_what_its_loading_raises_ends_the_run(tmp_path: Path, models: Models) -> None:
    other = save_with_other_tokenizer(tmp_path / "other", "reward")
    for value, told in ((str(other), "another tokenizer"), (str(tmp_path / "nothing"), "nothing")):
        config = read_config(tmp_path, settings(tmp_path, models, NOWHERE, {"value.path": value}))
        with pytest.raises(Exception, match=told):
            make_learner(config)
    assert not value_processes(psutil.Process())


def test_its_end_is_told_and_what_to_do(tmp_path: Path, models: Models) -> None:
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
    assert isinstance(learner.value, ValueProcess)
    [child] = value_processes(psutil.Process())
    child.kill()
    with pytest.raises(ValueProcessGone, match=r"code -9.*value\.own_process = false"):
        learner.value.standardise(0.0, 1.0)
    learner.close()


def test_its_end_in_the_middle_of_a_message_is_told_like_any_other(tmp_path: Path, models: Models) -> None:
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
    [child] = value_processes(psutil.Process())
    child.suspend()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(learner.value.load, {"value": torch.zeros(5_000_000)})  # more than a socket holds
        time.sleep(0.5)
        child.kill()
        with pytest.raises(ValueProcessGone):
            loading.result()
    learner.close()


def test_it_ends_with_a_run_that_does_not_begin(tmp_path: Path, models: Models) -> None:
    too_long = {"data.max_question_tokens": 1}
    with pytest.raises(BadData):
        run_ppo(read_config(tmp_path, settings(tmp_path, models, NOWHERE, too_long)))
    assert not value_processes(psutil.Process())


@pytest.mark.skipif(torch.cuda.is_available(), reason="auto is the GPU here")
def test_it_runs_where_the_device_that_is_chosen_is_a_cpu(tmp_path: Path, models: Models) -> None:
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {"device": "auto"})))
    learner.close()
    assert isinstance(learner.value, ValueProcess)


def test_files_beside_the_run_are_no_modules_of_it(
    tmp_path: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "safetensors.py").write_text("raise RuntimeError")
    monkeypatch.chdir(tmp_path)
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
    learner.close()


def test_an_error_that_cannot_be_read_again_is_told_in_words() -> None:
    class OfTwo(Exception):
        def __init__(self, what: str, why: str) -> None:
            super().__init__(f"{what}: {why}")

    error = OfTwo("layer 3", "no weight")
    error.add_note("where it was")
    found = pickle.loads(pickle.dumps(_sendable(error)))
    assert (type(found), str(found)) == (RuntimeError, "OfTwo: layer 3: no weight")
    assert found.__notes__ == ["where it was"]
    known = ValueError("as it is")
    assert _sendable(known) is known


def test_an_error_of_a_call_is_raised_and_the_next_call_answered(tmp_path: Path, models: Models) -> None:
    _, learner = make_learner(read_config(tmp_path, settings(tmp_path, models, NOWHERE, {})))
    with pytest.raises(TypeError) as raised:
        learner.value.standardise("1", 1.0)
    assert "value_learner.py" in raised.value.__notes__[0]
    learner.value.standardise(1.0, 1.0)
    learner.close()
    assert not value_processes(psutil.Process())


def test_kill_9_of_the_run_ends_it(tmp_path: Path, models: Models, judges: Judges) -> None:
    path = write_config(tmp_path, settings(tmp_path, models, judges, {"updates": 1000}))
    command = [sys.executable, "-m", "rewardplane", "train", "ppo", "--config", str(path)]
    with (tmp_path / "log").open("w") as log:
        run = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "2"})
    try:
        wait_until(lambda: (tmp_path / "run" / "metrics.jsonl").exists())
        [child] = value_processes(psutil.Process(run.pid))
    finally:
        run.kill()
        run.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert "Traceback" not in (tmp_path / "log").read_text()


def value_processes(of: psutil.Process) -> list[psutil.Process]:
    return [child for child in of.children() if "rewardplane.trainer.ppo.value_process" in child.cmdline()]


def wait_until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)
