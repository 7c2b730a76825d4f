"""SFT and reward training in several processes: what one process learns, they learn, and they go on where they were."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import Gang
from rewardplane.trainer.batches import by_tokens, turns
from rewardplane.trainer.config import load_config
from rewardplane.trainer.progress import METRICS, read_metrics
from rewardplane.trainer.reward.config import RewardConfig
from rewardplane.trainer.reward.train import run_reward
from rewardplane.trainer.sft.config import SftConfig
from rewardplane.trainer.sft.train import run_sft
from safetensors.torch import load_file
from tiny_models import save_tiny
from torch.testing import assert_close

WORDS = ["good", "long", "seen", "again", "hoped", "end, and so on, as I had hoped for"]
RATINGS = [1, 2, 3, 3, 5, 0]
pytestmark = pytest.mark.timeout(300)
TIMEOUT_S = 100.0


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_run(directory: Path, kind: str, settings: Mapping[str, Any]) -> Path:
    """Gives the configuration of a run of 9 steps on questions of different length, the last one of one question."""
    directory.mkdir(exist_ok=True)
    save_tiny(directory / "start", "sft")
    questions = [f"Was it {word}?" * (i % 3 + 1) for i, word in enumerate(WORDS)][:3] * 3
    if kind == "reward":
        rows = [{"question": q, "answers": [f"{q} {w}" for w in WORDS], "ratings": RATINGS} for q in questions]
        size = {"batch_questions": 4}
    else:
        rows = [{"question": q, "answer": f"It was {w}."} for q, w in zip(questions, WORDS * 2, strict=False)]
        size = {"batch_tokens": 100}
    given = {
        "output": str(directory / "run"),
        "model.path": str(directory / "start"),
        "data.train": str(write_lines(directory / "train.jsonl", rows)),
        "data.heldout": str(write_lines(directory / "heldout.jsonl", rows[:3])),
        "optimizer.learning_rate": 1e-2,
        "optimizer.eps": 1e-2,  # or Adam would make a whole step of the rounding of a gradient near zero
        "precision": "float32",
        "epochs": 3,
        "micro_batch_tokens": 60,
        "save_every": 2,
        **size,
        **settings,
    }
    path = directory / f"{kind}.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))
    return path


def run_here(config: Path, kind: str) -> Path:
    """Gives the run's directory."""
    if kind == "reward":
        return run_reward(load_config(config, RewardConfig)).checkpoint.parent
    return run_sft(load_config(config, SftConfig)).checkpoint.parent


def figures(run: Path) -> list[dict[str, float | None]]:
    """metrics.jsonl without the clock."""
    return [
        {name: value for name, value in row.items() if name not in ("tokens_per_s", "seconds_update")}
        for row in read_metrics(run)
    ]


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [("reward", {}), ("sft", {}), ("reward", {"lora.rank": 4, "gradient_checkpointing": True})],
    ids=["reward", "sft", "adapters and layers that are computed again"],
)
def test_processes_learn_what_one_learns(tmp_path: Path, kind: str, settings: Mapping[str, Any], count: int) -> None:
    alone = run_here(write_run(tmp_path / "alone", kind, settings), kind)
    config = write_run(tmp_path / "together", kind, settings)
    gang = Gang(count, ["train", kind, "--config", str(config)], tmp_path / "log")
    assert gang.wait(TIMEOUT_S) == [0] * count, gang.log.read_text()
    together = tmp_path / "together" / "run"
    assert gang.log.read_text().count("held-out") == 1  # one of them says that it is done
    ours, expected = figures(together), figures(alone)
    assert [row["update"] for row in ours] == list(range(9))
    for row, other in zip(ours, expected, strict=True):
        assert row == pytest.approx(other, rel=1e-5 if row["update"] == 0 else 1e-4)
    weights, others = (load_file(path / "checkpoint" / "model.safetensors") for path in (together, alone))
    assert weights.keys() == others.keys()
    for name in weights:
        assert_close(weights[name], others[name], rtol=0.0, atol=1e-5)
    settings_of = [json.loads((path / "checkpoint" / "config.json").read_text()) for path in (together, alone)]
    offsets = [content.pop("reward_offset", 0.0) for content in settings_of]
    assert offsets[0] == pytest.approx(offsets[1], rel=1e-4)
    assert settings_of[0] == settings_of[1]
    assert not (together / "states").exists()


def test_a_killed_process_ends_the_others_and_they_go_on_to_the_same_bits(tmp_path: Path) -> None:
    results = []
    for name in ("undisturbed", "killed"):
        argv = ["train", "reward", "--config", str(write_run(tmp_path / name, "reward", {"epochs": 6}))]
        gang = Gang(2, argv, tmp_path / f"{name}.log")
        run = tmp_path / name / "run"
        if name == "killed":
            give_up = time.monotonic() + TIMEOUT_S
            while not (run / METRICS).exists() or len((run / METRICS).read_text().splitlines()) < 3:
                assert time.monotonic() < give_up, gang.log.read_text()
                time.sleep(0.01)
            gang.commands[1].kill()
            assert all(gang.wait(TIMEOUT_S)), "the first process ends without the second"
            assert not (run / "checkpoint").exists()
            gang = Gang(2, argv, tmp_path / f"{name}.log")
        assert gang.wait(TIMEOUT_S) == [0, 0], gang.log.read_text()
        results.append((figures(run), (run / "checkpoint" / "manifest.json").read_text()))
    assert "going on after update" in (tmp_path / "killed.log").read_text()
    assert results[0] == results[1]


def test_a_run_goes_on_in_another_number_of_processes(tmp_path: Path) -> None:
    alone = run_here(write_run(tmp_path / "alone", "reward", {}), "reward")
    config = write_run(tmp_path / "moved", "reward", {"save_every": 1})
    stopped = Gang(2, ["train", "reward", "--config", str(config)], tmp_path / "log")
    states = tmp_path / "moved" / "run" / "states"
    give_up = time.monotonic() + TIMEOUT_S
    while not any(states.glob("[0-9]*")):
        assert time.monotonic() < give_up, stopped.log.read_text()
        time.sleep(0.005)
    stopped.kill()
    moved = run_here(config, "reward")
    losses, expected = ([row["loss"] for row in read_metrics(path)] for path in (moved, alone))
    assert losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_turns_are_equally_many_and_have_every_row_once(processes: int) -> None:
    costs = torch.randint(1, 50, (23,), generator=torch.Generator().manual_seed(0)).tolist()
    order = list(reversed(range(20)))
    by_process = turns(order, costs, 60, processes)
    assert len({len(own) for own in by_process}) == 1
    done = [[i for turn in own if turn.weight for i in turn.rows] for own in by_process]
    assert [i for own in done for i in own] == order
    tokens = [sum(costs[i] for i in own) for own in done]
    assert max(tokens) - min(tokens) <= 2 * max(costs)
    assert all(sum(costs[i] for i in turn.rows) <= 60 for own in by_process for turn in own)
    if processes == 1:
        assert [turn.rows for turn in by_process[0]] == list(by_tokens(order, costs, 60))


def test_a_process_without_rows_keeps_step_with_a_row_that_does_not_count() -> None:
    by_process = turns([3, 1], [9, 4, 9, 9], 9, 4)
    assert sorted(turn.weight for own in by_process for turn in own) == [0.0, 0.0, 1.0, 1.0]
    assert {tuple(turn.rows) for own in by_process for turn in own if not turn.weight} == {(1,)}  # the shortest
