"""PPO runs small enough for tests: their data, their settings, and what they left behind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rewardplane.trainer.config import load_config
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.state import newest_state
from rewardplane.trainer.progress import read_metrics

# Tokenized with tests/tiny_models.py some are longer than 16 tokens, and are then packed apart from their answers.
QUESTIONS = (
    "The film was good and",
    "What did you think of it?",
    "It was long, and the end was not what I had hoped for. A reward model reads a question and says",
    "I would see it again. A question:",
    "How good the answer is. What did you think of the film, and would you see it again? It was",
    "A",
    "Was it good?",
    "The end was",
)
TEXTS = (
    "The film was good and I would see it again. ",
    "It was long, and the end was not what I had hoped for. What did you think of it? ",
    "A reward model reads a question and an answer. ",
    "Good. ",
    "What did you think of the end, and of the film?",
)


@dataclass(frozen=True)
class Models:
    """Checkpoints with one tokenizer."""

    sft: Path
    reward: Path


@dataclass(frozen=True)
class Judges:
    """Addresses."""

    reward: str
    reference: str


SCORES_AS_GIVEN = {"score.normalise_answers": 0, "evaluation.prompts": None}
AHEAD = {"sampling.ahead": 1}
NOWHERE = Judges("127.0.0.1:1", "127.0.0.1:1")


def settings(directory: Path, models: Models, judges: Judges, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted key: 5 updates of 8 answers, with every part of the objective switched on; None leaves a key out."""
    given = {
        "updates": 5,
        "policy.path": str(models.sft),
        "value.path": str(models.reward),
        "reward.target": judges.reward,
        "reference.target": judges.reference,
        "reward.timeout_s": 10.0,
        "reference.timeout_s": 10.0,
        "data.prompts": str(write_lines(directory / "prompts.jsonl", "question", QUESTIONS)),
        "data.pretraining": str(write_lines(directory / "texts.jsonl", "text", TEXTS)),
        "sampling.questions_per_update": 4,
        "sampling.answers_per_question": 2,
        "sampling.batch_questions": 3,
        "sampling.max_answer_tokens": 8,
        "sampling.temperature": 0.9,
        "kl.controller": "adaptive",
        "kl.horizon_episodes": 100,
        "score.normalise_answers": 8,
        "ppo.ptx_coef": 0.5,
        "ppo.ptx_texts": 3,
        "ppo.micro_batch_tokens": 64,
        "policy_optimizer.learning_rate": 3e-3,
        "policy_optimizer.schedule": "constant",
        "value_optimizer.learning_rate": 1e-2,
        "value_optimizer.schedule": "constant",
        "evaluation.prompts": str(write_lines(directory / "held_out.jsonl", "question", QUESTIONS[:2])),
        "evaluation.every": 2,
        "output.directory": str(directory / "run"),
        "output.save_every": 1,
        "output.publish_every": 2,
        **overrides,
    }
    return {key: value for key, value in given.items() if value is not None}


def write_lines(path: Path, key: str, values: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({key: value}) + "\n" for value in values), encoding="utf-8")
    return path


def write_config(directory: Path, given: Mapping[str, Any]) -> Path:
    """A TOML file of dotted keys; a JSON string, number or list is also one of TOML."""
    path = directory / "ppo.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()), encoding="utf-8")
    return path


def read_config(directory: Path, given: Mapping[str, Any]) -> PpoRunConfig:
    return load_config(write_config(directory, given), PpoRunConfig)


def figures(run_directory: Path) -> list[dict[str, float | None]]:
    """metrics.jsonl without what an outage or a busy machine may change."""
    return [
        {name: value for name, value in row.items() if "seconds" not in name and name != "judge_retries"}
        for row in read_metrics(run_directory)
    ]


def digests(run_directory: Path) -> dict[str, str]:
    """Of every published checkpoint, by name: SHA-256 of its manifest, which holds those of its files."""
    return {
        path.name: hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
        for path in sorted((run_directory / "checkpoints").iterdir())
        if not path.name.startswith(".")
    }


def assert_same_run(directory: Path, undisturbed: Path) -> None:
    """Weights, optimizer moments, KL coefficient and figures."""
    assert digests(directory) == digests(undisturbed)
    assert figures(directory) == figures(undisturbed)
    ours, expected = (newest_state(path / "states") for path in (directory, undisturbed))
    assert ours.name == expected.name
    assert (ours / "progress.json").read_text() == (expected / "progress.json").read_text()
    assert_equal_to_the_bit(*(torch.load(state / "tensors.pt", weights_only=True) for state in (ours, expected)))


def assert_equal_to_the_bit(ours: object, expected: object) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected)
    elif isinstance(expected, dict):
        assert list(ours) == list(expected)
        for key in expected:
            assert_equal_to_the_bit(ours[key], expected[key])
    else:
        assert ours == expected
