"""A model that two processes hold together answers as one process does, and the two begin and end together."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from forked import Gang, free_port
from rewardplane.services.common.team import PartFailed, TeamLost, joined
from servers import scrape, served
from tiny_models import save_tiny

from rewardplane import Client, RewardplaneError

pytestmark = pytest.mark.timeout(300)
PAIRS = [("How was it?", answer) for answer in ("Good.", "Long, and not what I had hoped for.", "It was")]
PAIRS += [("What did you think of the film, and would you see it again?", "I would."), ("Was it good?", "A film")]
QUESTIONS = ["How was it?", "And the end of it, was it what you had hoped for?"]


class Together:
    """Two processes of `rewardplane serve`."""

    def __init__(self, role: str, directory: Path, folder: Path, *flags: str) -> None:
        self._ports = folder / f"ports-{time.monotonic_ns()}.json"
        where = ["--model", str(directory), "--port", "0", "--metrics-port", "0", "--port-file", str(self._ports)]
        rest = ["--threads", "1", "--max-batch-tokens", "128", *flags]
        self.gang = Gang(2, ["serve", role, *where, *rest], folder / "log")

    def wait_until_serving(self, timeout_s: float = 150.0) -> str:
        """Gives HOST:PORT."""
        end_s = time.monotonic() + timeout_s
        while not self._ports.exists():
            assert time.monotonic() < end_s, self.gang.log.read_text()
            assert all(command.process.is_alive() for command in self.gang.commands), self.gang.log.read_text()
            time.sleep(0.05)
        ports = json.loads(self._ports.read_text())
        self.metrics_port = ports["metrics_port"]
        return f"127.0.0.1:{ports['port']}"

    def terminate(self) -> None:
        """All of them, as torchrun does."""
        for command in self.gang.commands:
            os.kill(command.process.pid or 0, signal.SIGTERM)


@contextmanager
def together(role: str, directory: Path, folder: Path, *flags: str) -> Iterator[Together]:
    both = Together(role, directory, folder, *flags)
    try:
        yield both
    finally:
        both.gang.kill()


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_scores_are_those_of_one_process(tmp_path: Path, family: str) -> None:
    save_tiny(tmp_path / "reward", "reward", family, reward_offset=0.25)
    with served("reward", tmp_path / "reward") as one, Client(one.target) as client:
        expected = client.score(PAIRS).values
    with together("reward", tmp_path / "reward", tmp_path) as both, Client(both.wait_until_serving()) as client:
        assert np.abs(client.score(PAIRS).values - expected).max() < 1e-5
        both.terminate()
        assert both.gang.wait(60) == [0, 0], both.gang.log.read_text()


def test_a_policy_answers_as_one_process_does_also_after_a_swap(tmp_path: Path) -> None:
    # A vocabulary that two do not divide: the last process has a row less.
    sizes = {"vocab_size": 321, "eos_token_id": 1}
    published = tmp_path / "published"
    for version in (1, 2):
        save_tiny(tmp_path / f"policy-{version}", "policy", seed=version, policy_version=version, **sizes)
    published.mkdir()
    shutil.move(tmp_path / "policy-1", published)
    with together("policy", published, tmp_path, "--follow-seconds", "0.1") as both:
        with Client(both.wait_until_serving()) as client:
            compare(client, published / "policy-1")
            shutil.move(tmp_path / "policy-2", published)
            end_s = time.monotonic() + 30
            while scrape(both.metrics_port)["rewardplane_policy_version", ()] != 2:
                assert time.monotonic() < end_s, both.gang.log.read_text()
                time.sleep(0.05)
            compare(client, published / "policy-2")
        both.terminate()
        assert both.gang.wait(60) == [0, 0], both.gang.log.read_text()


def compare(client: Client, directory: Path) -> None:
    with served("policy", directory) as one, Client(one.target) as other:
        for ours, theirs in zip(client.logprobs(PAIRS).values, other.logprobs(PAIRS).values, strict=True):
            assert np.abs(ours - theirs).max() < 1e-5
        answers, expected = (
            c.generate(QUESTIONS, answers_per_question=3, max_answer_tokens=12, seed=5).answers for c in (client, other)
        )
        assert [a.text for row in answers for a in row] == [a.text for row in expected for a in row]


def test_when_one_process_is_killed_the_other_ends_at_the_next_call(tmp_path: Path, reward_dir: Path) -> None:
    with together("reward", reward_dir, tmp_path) as both, Client(both.wait_until_serving(), timeout_s=5) as client:
        both.gang.commands[1].kill()
        with pytest.raises(RewardplaneError):
            client.score(PAIRS)
        assert both.gang.commands[0].wait(30) == 1
        assert "have lost one another" in both.gang.log.read_text()


@pytest.mark.parametrize(
    ("family", "overrides", "why"),
    [
        ("gpt2", {}, "gpt2 models cannot be split"),
        ("llama", {"num_key_value_heads": 1}, "1 key-value heads cannot be split among 2 processes"),
    ],
)
def test_what_cannot_be_split_is_refused_by_name(
    tmp_path: Path, family: str, overrides: dict[str, Any], why: str
) -> None:
    save_tiny(tmp_path / "reward", "reward", family, **overrides)
    with together("reward", tmp_path / "reward", tmp_path) as both:
        assert [command.wait(60) for command in both.gang.commands] == [1, 0]
        assert f"cannot serve {tmp_path / 'reward'} as reward: {why}" in both.gang.log.read_text()


def end(message: str) -> NoReturn:
    raise SystemExit(message)


def fails_in(*ranks: int, error: type[Exception] = ValueError, message: str = "no") -> Callable[[int], None]:
    def call(rank: int) -> None:
        if rank in ranks:
            raise error(f"{message} {rank}")

    return call


CALLS = [fails_in(), fails_in(0), fails_in(1), fails_in(0, 1)]
CALLS.append(fails_in(1, error=RuntimeError, message="[gloo/pair.cc]"))


def take_part(rank: int, port: int, found: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    with joined("cpu", end) as team:
        for call in CALLS:
            try:
                found.put((rank, str(team.together(lambda call=call: call(rank)))))  # type: ignore[misc]
            except (ValueError, PartFailed, TeamLost) as error:
                found.put((rank, f"{type(error).__name__}: {error}"))


def test_an_error_in_one_process_is_learnt_by_all() -> None:
    forks = multiprocessing.get_context("forkserver")
    found, port = forks.Queue(), free_port()
    processes = [forks.Process(target=take_part, args=(rank, port, found)) for rank in range(2)]
    for process in processes:
        process.start()
    said = [found.get(timeout=60) for _ in range(2 * len(CALLS))]
    for process in processes:
        process.join(30)
    lost = "TeamLost: process 1 lost the others: RuntimeError: [gloo/pair.cc] 1"
    assert [text for rank, text in said if rank == 0] == [
        "None", "ValueError: no 0", "PartFailed: process 1: ValueError: no 1", "ValueError: no 0", lost,
    ]  # fmt: skip
    assert [text for rank, text in said if rank == 1] == [
        "None", "PartFailed: process 0: ValueError: no 0", "ValueError: no 1", "ValueError: no 1", lost,
    ]  # fmt: skip
