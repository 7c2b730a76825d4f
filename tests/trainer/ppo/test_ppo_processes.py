"""PPO in several processes, with judges over gRPC: what one process does, they do together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from forked import Gang
from ppo_runs import AHEAD, Judges, Models, digests, figures, read_config, settings, write_config
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import run_ppo
from safetensors.torch import load_file
from torch.testing import assert_close

pytestmark = pytest.mark.timeout(300)
TIMEOUT_S = 110.0
# With its usual eps Adam would make a whole step of the rounding of a gradient near zero.
STEADY = {"policy_optimizer.eps": 1e-2, "value_optimizer.eps": 1e-2, "updates": 3}


def gang(count: int, directory: Path, models: Models, judges: Judges, overrides: Mapping[str, Any]) -> Gang:
    path = write_config(directory, settings(directory, models, judges, overrides))
    return Gang(count, ["train", "ppo", "--config", str(path)], directory / "log")


def together(count: int, directory: Path, models: Models, judges: Judges, overrides: Mapping[str, Any]) -> Path:
    """Gives the directory of a run that has ended."""
    started = gang(count, directory, models, judges, overrides)
    assert started.wait(TIMEOUT_S) == [0] * count, started.log.read_text()
    return directory / "run"


def checkpoint(run: Path) -> dict[str, Any]:
    """Weights of the last policy."""
    return load_file(max((run / "checkpoints").glob("policy-*")) / "model.safetensors")


def alone(directory: Path, models: Models, judges: Judges, overrides: Mapping[str, Any]) -> Path:
    directory.mkdir()
    return run_ppo(read_config(directory, settings(directory, models, judges, overrides))).metrics.parent


WHOLE: dict[str, Any] = {}
LORA = {"policy.lora.rank": 4, "value.lora.rank": 4, "gradient_checkpointing": True}


@pytest.mark.parametrize(
    ("count", "overrides"),
    [
        pytest.param(2, WHOLE, id="2"),
        pytest.param(4, WHOLE, id="4", marks=pytest.mark.slow),  # and some have nothing to do in a minibatch
        pytest.param(2, LORA, id="lora", marks=pytest.mark.slow),
        pytest.param(2, AHEAD, id="ahead"),
    ],
)
def test_processes_draw_judge_and_learn_as_one(
    tmp_path: Path, models: Models, judges: Judges, count: int, overrides: Mapping[str, Any]
) -> None:
    expected = alone(tmp_path / "alone", models, judges, {**STEADY, **overrides})
    ours = together(count, tmp_path, models, judges, {**STEADY, **overrides})
    rows, others = figures(ours), figures(expected)
    assert [row["update"] for row in rows] == [0, 1, 2, 3]
    # Before the first step the forward has the same bits: the same answers, judged the same.
    for name in ("score", "kl_nats", "entropy", "answer_tokens", "ended_ratio", "eval_score"):
        assert rows[0][name] == others[0][name]
    assert rows[0]["kl_nats"] == 0.0
    on_policy = rows[:1] if "sampling.ahead" in overrides else rows[:3]
    assert [row["first_ratio_deviation"] for row in on_policy] == [0.0] * len(on_policy)
    for row, other in zip(rows, others, strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-5)
    assert [row["answer_tokens"] for row in rows[:3]] == [row["answer_tokens"] for row in others[:3]]
    assert (ours / "samples.jsonl").read_text().count("\n") == (expected / "samples.jsonl").read_text().count("\n")
    for name, weight in checkpoint(expected).items():
        assert_close(checkpoint(ours)[name], weight, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    "overrides", [pytest.param(WHOLE, id="on-policy"), pytest.param(AHEAD, id="ahead", marks=pytest.mark.slow)]
)
def test_a_killed_process_ends_the_run_and_it_goes_on_to_the_same_bits(
    overrides: Mapping[str, Any], tmp_path: Path, models: Models, judges: Judges
) -> None:
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
    short = {"updates": 3, "evaluation.prompts": None, **overrides}
    undisturbed = together(2, tmp_path / "undisturbed", models, judges, short)
    killed = gang(2, tmp_path / "killed", models, judges, short)
    states = tmp_path / "killed" / "run" / "states"
    give_up = time.monotonic() + TIMEOUT_S
    while not (states / "00000001").exists():
        assert time.monotonic() < give_up, killed.log.read_text()
        time.sleep(0.01)
    killed.commands[1].kill()
    assert all(killed.wait(TIMEOUT_S)), "the first process ends without the second"
    run = together(2, tmp_path / "killed", models, judges, short)
    assert "going on after update" in killed.log.read_text()
    assert figures(run) == figures(undisturbed)
    assert digests(run) == digests(undisturbed)


def test_other_settings_stop_all_processes(
    tmp_path: Path, models: Models, judges: Judges, undisturbed: PpoRunConfig
) -> None:
    overrides = {"output.directory": str(undisturbed.output.directory), "kl.coef": 0.5}
    refused = gang(2, tmp_path, models, judges, overrides)
    assert refused.wait(TIMEOUT_S) == [1, 1]
    assert refused.log.read_text().count("has other settings") == 2


def test_a_run_of_one_process_goes_on_in_two(
    tmp_path: Path, models: Models, judges: Judges, undisturbed: PpoRunConfig
) -> None:
    """States are whole: they do not tell how many processes wrote them."""
    alone(tmp_path / "here", models, judges, {"updates": 3})
    run = together(2, tmp_path / "here", models, judges, {"updates": 4})
    assert json.loads((run / "states" / "00000004" / "progress.json").read_text())["update"] == 4
    ours, expected = figures(run)[3], figures(undisturbed.output.directory)[3]
    for name in ("score", "kl_nats", "policy_loss", "value_loss", "ptx_loss", "policy_grad_norm"):
        assert ours[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5)
