"""The files that the recipe trains on: beginnings of stories, whole stories, and texts that people rated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rewardplane.trainer.demo.prepare import PrepareConfig, PreparedData, prepare, write_jsonl
from rewardplane.trainer.demo.vader_data import RatedText

PROMPT_TOKENS = 12


@dataclass(frozen=True)
class StoryFiles:
    """Paths; no held-out beginning begins a text of the other two."""

    prompts: Path  # {"question": first tokens of a story}, each once
    prompts_heldout: Path
    stories: Path  # {"text": whole story}, for the PTX term


def read_stories(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def story_files(stories: Sequence[str], tokenizer: Any, held_out: int, directory: Path) -> StoryFiles:
    """Beginnings are of PROMPT_TOKENS tokens, the one that begins every text not counted. The same stories give the
    same bytes."""
    directory.mkdir(parents=True, exist_ok=True)
    ids = tokenizer(list(stories), add_special_tokens=False, truncation=True, max_length=PROMPT_TOKENS)["input_ids"]
    beginnings = tokenizer.batch_decode(ids)
    unique = list(dict.fromkeys(beginnings))
    out = {unique[i] for i in np.random.default_rng(0).permutation(len(unique))[:held_out]}
    training = [{"text": story} for story, beginning in zip(stories, beginnings, strict=True) if beginning not in out]
    return StoryFiles(
        prompts=_questions(directory / "prompts.jsonl", (b for b in unique if b not in out)),
        prompts_heldout=_questions(directory / "prompts_heldout.jsonl", (b for b in unique if b in out)),
        stories=write_jsonl(directory / "stories.jsonl", training),
    )


def read_questions(path: Path) -> list[str]:
    return [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines()]


def rating_files(texts: Sequence[RatedText], directory: Path) -> PreparedData:
    """The demo's groups of K = 9 texts in people's order."""
    return prepare(texts, directory, PrepareConfig())


def _questions(path: Path, questions: Iterable[str]) -> Path:
    return write_jsonl(path, [{"question": question} for question in questions])
