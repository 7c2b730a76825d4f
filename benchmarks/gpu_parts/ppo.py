"""PPO: updates a second and the share of each stage, with both judges behind gRPC on the same device."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gpu_parts.checkpoints import save_models
from gpu_parts.served import apart, served
from gpu_parts.shapes import SHAPES
from result_file import Bar
from rewardplane.trainer.config import parse_config
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import run_ppo

Records = Iterator[dict[str, object] | Bar]
STAGES = ("sample", "measure", "judge", "update")
UPDATES = 3


def updates(name: str, questions: int, answer_tokens: int, device: str, directory: Path) -> Records:
    """The first update, which compiles and takes memory, is left out."""
    apart(save_models, directory, name, device)
    _write_prompts(directory / "prompts.jsonl", SHAPES[name].vocabulary, UPDATES * questions)
    row_tokens = 32768 if device == "cuda" else 1024
    judges = [("reward", directory / "reward"), ("reference", directory / "sft")]
    with served(judges, device, row_tokens) as (reward, reference):
        config = _config(directory, questions, answer_tokens, device, row_tokens)
        config |= {"reward": {"target": reward}, "reference": {"target": reference}}
        result = run_ppo(parse_config(config, PpoRunConfig, "benchmark"))
        yield from _found(name, questions, result.metrics)


def _config(directory: Path, questions: int, answer_tokens: int, device: str, row_tokens: int) -> dict[str, object]:
    return {
        "updates": UPDATES, "device": device, "precision": "auto", "gradient_checkpointing": "auto",
        "policy": {"path": str(directory / "sft")}, "value": {"path": str(directory / "reward")},
        "data": {"prompts": str(directory / "prompts.jsonl")},
        "sampling": {
            "questions_per_update": questions, "max_answer_tokens": answer_tokens,
            "batch_questions": max(1, questions // 4),
        },
        "score": {"normalise_answers": 0},
        "ppo": {"epochs": 2, "minibatches": 2, "micro_batch_tokens": row_tokens // 4},
        "policy_optimizer": {"learning_rate": 1e-6}, "value_optimizer": {"learning_rate": 1e-6},
        "output": {"directory": str(directory / "run")},
    }  # fmt: skip


def _found(case: str, questions: int, metrics: Path) -> Records:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    timed = [line for line in lines if "seconds_update" in line][1:]
    total = statistics.median(line["seconds_total"] for line in timed)
    shares = {
        stage: statistics.median(line[f"seconds_{stage}"] / line["seconds_total"] for line in timed) for stage in STAGES
    }
    row: dict[str, object] = {"case": f"PPO, {case}, {questions} answers", "updates_per_s": 1 / total}
    yield row | {f"share_{stage}": share for stage, share in shares.items()}
    yield Bar(f"PPO, {case}: share of a step that waits for judges", shares["judge"], "at most 0.1")


def _write_prompts(path: Path, vocabulary: int, count: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for _ in range(count):
            words = rng.integers(2, vocabulary, int(rng.integers(16, 128)))
            file.write(json.dumps({"question": " ".join(map(str, words))}) + "\n")
