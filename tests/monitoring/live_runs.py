"""Training runs as processes, small enough for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUESTIONS = ("The film was good and", "What did you think of it?", "It was long, and", "I would see it again.")
ANSWERS = ("Good.", "It was long.", "A reward model reads it.")
CHILD = Path(__file__).parent / "training_child.py"


@dataclass(frozen=True)
class Judges:
    reward: str
    reference: str


def lines(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def toml(path: Path, settings: Mapping[str, Any]) -> Path:
    """Settings by dotted key; a JSON value is one of TOML."""
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    return path


def ppo(folder: Path, models: Path, judges: Judges, port: int, **changes: Any) -> Path:
    """A run of 20 updates with every part of the objective."""
    folder.mkdir()
    questions = [{"question": question} for question in QUESTIONS]
    settings = {
        "updates": 20,
        "policy.path": str(models / "sft"),
        "value.path": str(models / "reward"),
        "reward.target": judges.reward,
        "reference.target": judges.reference,
        "reward.timeout_s": 5.0,
        "reference.timeout_s": 5.0,
        "data.prompts": lines(folder / "prompts.jsonl", questions),
        "data.pretraining": lines(folder / "texts.jsonl", [{"text": f"{q} Good."} for q in QUESTIONS]),
        "sampling.questions_per_update": 4,
        "sampling.answers_per_question": 2,
        "sampling.max_answer_tokens": 8,
        "score.normalise_answers": 8,
        "ppo.ptx_coef": 0.5,
        "ppo.ptx_texts": 3,
        "policy_optimizer.learning_rate": 1e-3,
        "value_optimizer.learning_rate": 1e-2,
        "evaluation.prompts": lines(folder / "held_out.jsonl", questions[:2]),
        "evaluation.every": 5,
        "metrics.port": port,
        "metrics.last_scrape_s": 20.0,
        "output.directory": str(folder / "run"),
        "output.save_every": 5,
        "output.publish_every": 10,
    }
    return toml(folder / "ppo.toml", settings | {key.replace("__", "."): value for key, value in changes.items()})


def sft(folder: Path, port: int) -> Path:
    rows = [{"question": question, "answer": answer} for question in QUESTIONS for answer in ANSWERS]
    settings = {
        "output": str(folder / "sft"),
        "from_scratch.vocabulary_size": 270,
        "from_scratch.hidden_size": 32,
        "from_scratch.intermediate_size": 64,
        "from_scratch.layers": 1,
        "from_scratch.heads": 2,
        "data.train": lines(folder / "demonstrations.jsonl", rows),
        "data.heldout": lines(folder / "demonstrations_heldout.jsonl", rows[:2]),
        "metrics.port": port,
        "metrics.last_scrape_s": 20.0,
    }
    return toml(folder / "sft.toml", settings)


def reward(folder: Path, port: int) -> Path:
    rows = [{"question": question, "answers": list(ANSWERS), "ranks": [0, 1, 2]} for question in QUESTIONS]
    settings = {
        "output": str(folder / "reward"),
        "model.path": str(folder / "sft" / "checkpoint"),
        "data.train": lines(folder / "ranked.jsonl", rows),
        "data.heldout": lines(folder / "ranked_heldout.jsonl", rows[:2]),
        "metrics.port": port,
        "metrics.last_scrape_s": 20.0,
    }
    return toml(folder / "reward.toml", settings)


def start(kind: str, *configs: Path) -> subprocess.Popen[bytes]:
    log = configs[-1].with_suffix(".log")
    with log.open("a") as output:
        return subprocess.Popen(
            [sys.executable, str(CHILD), kind, *map(str, configs)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=output,
        )
