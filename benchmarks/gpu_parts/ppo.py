"""PPO: updates a second and the share of each stage, with both judges behind gRPC on the same device."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
from gpu_parts.checkpoints import save_models
from gpu_parts.served import served
from gpu_parts.shapes import SHAPES
from result_file import Bar
from rewardplane.trainer.config import parse_config
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import run_ppo

Rows = list[dict[str, object]]
STAGES = ("sample", "measure", "judge", "update")


def updates(name: str, questions: int, answer_tokens: int, device: str, directory: Path) -> tuple[Rows, list[Bar]]:
    """Four updates; the first one, which compiles and takes memory, is left out."""
    save_models(directory, name)
    _write_prompts(directory / "prompts.jsonl", SHAPES[name].vocabulary, 4 * questions)
    row_tokens = 32768 if device == "cuda" else 1024
    with (
        served("reward", directory / "reward", device, row_tokens) as (reward, _),
        served("reference", directory / "sft", device, row_tokens) as (reference, _),
    ):
        config = {
            "updates": 4, "device": device,
            "policy": {"path": str(directory / "sft")}, "value": {"path": str(directory / "reward")},
            "reward": {"target": reward}, "reference": {"target": reference},
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
        result = run_ppo(parse_config(config, PpoRunConfig, "benchmark"))
    lines = [json.loads(line) for line in result.metrics.read_text().splitlines()]
    timed = [line for line in lines if "seconds_update" in line][1:]
    total = statistics.median(line["seconds_total"] for line in timed)
    shares = {
        stage: statistics.median(line[f"seconds_{stage}"] / line["seconds_total"] for line in timed) for stage in STAGES
    }
    row = {"case": f"PPO, {name}, {questions} answers", "updates_per_s": 1 / total}
    row |= {f"share_{stage}": share for stage, share in shares.items()}
    return [row], [Bar(f"PPO, {name}: share of a step that waits for judges", shares["judge"], "at most 0.1")]


def _write_prompts(path: Path, vocabulary: int, count: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for _ in range(count):
            words = rng.integers(2, vocabulary, int(rng.integers(16, 128)))
            file.write(json.dumps({"question": " ".join(map(str, words))}) + "\n")
