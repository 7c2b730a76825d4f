"""Settings and data that cannot be used stop a run before it samples, with a message that says what to change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from other_tokenizer import save_with_other_tokenizer
from ppo_runs import NOWHERE, Models, read_config, settings, write_config, write_lines
from rewardplane.trainer.__main__ import train
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.data import BadData
from rewardplane.trainer.ppo.train import run_ppo


def complaint(
    directory: Path, models: Models, overrides: Mapping[str, Any], kind: type[ValueError] = ConfigError
) -> str:
    """What a run with these settings fails with. No judge is asked: there is none."""
    given = settings(directory, models, NOWHERE, {"reference.outage_limit_s": 0.1, **overrides})
    with pytest.raises(kind) as caught:
        run_ppo(read_config(directory, given))
    assert not (directory / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("ppo.clip_rnage", 0.2, "unknown key ppo.clip_rnage; did you mean clip_range?"),
        ("reward.adress", "x:1", "unknown key reward.adress"),
        ("kl.controller", "adaptiv", "input should be 'fixed' or 'adaptive'"),
        ("score.sign", 0, "score.sign = 0: input should be 1 or -1"),
        ("sampling.temperature", 0.0, "sampling.temperature = 0.0: input should be greater than 0"),
        ("ppo.gamma", 1.5, "ppo.gamma = 1.5"),
        ("ppo.minibatches", 5, "ppo.minibatches is more than sampling.questions_per_update"),
        ("data.pretraining", None, "ppo.ptx_coef > 0 needs data.pretraining"),
        ("reward.target", None, "reward.target is missing"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, models: Models, key: str, value: Any, told: str) -> None:
    assert told in complaint(tmp_path, models, {key: value})


def test_one_answer_is_too_few_to_measure_a_spread(tmp_path: Path, models: Models) -> None:
    overrides = {"score.normalise_answers": 1, "sampling.answers_per_question": 1}
    assert "score.normalise_answers = 1" in complaint(tmp_path, models, overrides)


@pytest.mark.parametrize("key", ["data.prompts", "data.pretraining", "evaluation.prompts"])
def test_missing_data_file_is_named(tmp_path: Path, models: Models, key: str) -> None:
    missing = str(tmp_path / "nowhere.jsonl")
    assert f"{missing} does not exist" in complaint(tmp_path, models, {key: missing}, BadData)


@pytest.mark.parametrize("key", ["data.prompts", "evaluation.prompts"])
def test_too_long_question_is_named(tmp_path: Path, models: Models, key: str) -> None:
    short = write_lines(tmp_path / "short.jsonl", "question", ["A"])
    # <s> and, since the tokenizer never saw a digit beside another, one token a digit: 41 tokens.
    path = write_lines(tmp_path / "long.jsonl", "question", ["A", "7" * 40])
    prompts = {"data.prompts": str(short), "evaluation.prompts": str(short), key: str(path)}
    told = complaint(tmp_path, models, {**prompts, "data.max_question_tokens": 40}, BadData)
    assert f"{path}: question 2 has 41 tokens; 40 fit beside an answer of 8" in told


def test_question_that_leaves_the_model_no_room_for_an_answer_is_named(tmp_path: Path, models: Models) -> None:
    path = write_lines(tmp_path / "long.jsonl", "question", ["7" * 248])  # the model has 256 positions
    told = complaint(tmp_path, models, {"data.prompts": str(path)}, BadData)
    assert "question 1 has 249 tokens; 248 fit beside an answer of 8" in told


def test_value_model_with_another_tokenizer_is_refused(tmp_path: Path, models: Models) -> None:
    other = save_with_other_tokenizer(tmp_path / "other", "reward")
    told = complaint(tmp_path, models, {"value.path": str(other)})
    assert f"value.path: {other} has another tokenizer than policy.path" in told


def test_command_line_explains_without_a_traceback(
    tmp_path: Path, models: Models, capsys: pytest.CaptureFixture[str]
) -> None:
    given = settings(tmp_path, models, NOWHERE, {"reference.outage_limit_s": 0.0, "reference.timeout_s": 0.2})
    path = write_config(tmp_path, given)
    assert train(["ppo", "--config", str(path), "--set", "ppo.epoch=3"]) == 1
    assert "unknown key ppo.epoch; did you mean epochs?" in capsys.readouterr().err
    assert train(["ppo", "--config", str(path)]) == 1
    said = capsys.readouterr().err
    assert "error: the reference judge at 127.0.0.1:1 has not answered" in said
    assert "Traceback" not in said
