"""The models of the recipe, trained where they are not there yet, and what the judges say of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from rewardplane.trainer.demo.answers import Answered, ask_checkpoint
from rewardplane.trainer.demo.prepare import PreparedData
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.reward.train import run_reward

from .data import StoryFiles, read_questions
from .judged import Row, judged_row
from .settings import ANSWER_TOKENS, Variant, ppo_settings, reward_settings

SEED = 0
"""Of the answers that are judged, whatever the seed of the run."""
SAMPLES = 6


@dataclass(frozen=True)
class RewardModel:
    checkpoint: Path
    accuracy: float  # of pairs of held-out film texts


def trained_reward(ratings: PreparedData, model: Path, output: Path) -> RewardModel:
    found = output / "accuracy.json"
    if not found.exists():
        result = run_reward(reward_settings(ratings, model, output))
        assert result.heldout is not None
        found.write_text(json.dumps(result.heldout.accuracy))
    return RewardModel(output / "checkpoint", json.loads(found.read_text()))


@dataclass(frozen=True)
class Judged:
    row: Row
    samples: list[str]  # answers to the first held-out questions


@dataclass(frozen=True)
class Recipe:
    """What all PPO runs share, and whom they ask."""

    model: Path
    files: StoryFiles
    reward: Path
    judges: tuple[str, str]  # addresses of the reward model and the reference
    directory: Path
    updates: int
    answers: int = 4  # that a trained policy gives to each held-out question

    @property
    def questions(self) -> list[str]:
        return read_questions(self.files.prompts_heldout)

    def asked(self, checkpoint: Path, n: int) -> Answered:
        """n answers to each held-out question; all policies get the same random numbers."""
        logs = self.directory / "logs"
        return ask_checkpoint(checkpoint, logs, self.judges, self.questions, n, SEED, ANSWER_TOKENS)

    def judged(self, variant: Variant) -> Judged:
        """Trains a policy and has its last checkpoint judged. What ended with the same settings is not done again."""
        output = self.directory / variant.name.replace(",", "").replace(" ", "-")
        config = ppo_settings(self.files, self.model, self.reward, self.judges, output, variant, self.updates)
        settings, finished = config.model_dump_json(exclude={"reward", "reference"}), output / "judged.json"
        if finished.exists() and (kept := json.loads(finished.read_text()))["settings"] == settings:
            return Judged(kept["row"], kept["samples"])
        cpu_s = time.process_time()
        result = run_ppo(config)
        trained = {"updates": result.updates, "cpu_seconds": time.process_time() - cpu_s}
        answered = self.asked(result.checkpoint, self.answers)
        judged = Judged(judged_row(variant.name, self.questions, answered) | trained, answered.texts()[:SAMPLES])
        finished.write_text(json.dumps({"settings": settings, "row": judged.row, "samples": judged.samples}))
        return judged
