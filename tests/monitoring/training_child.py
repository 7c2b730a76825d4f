"""A process that trains: `training_child.py ppo CONFIG`, or `models CONFIG CONFIG` for SFT and a reward model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rewardplane.trainer.config import load_config
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import run_ppo
from rewardplane.trainer.reward.config import RewardConfig
from rewardplane.trainer.reward.train import run_reward
from rewardplane.trainer.sft.config import SftConfig
from rewardplane.trainer.sft.train import run_sft


def judge(questions: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Of the evaluations: short answers are good ones."""
    lengths = [len(answer) for answer in answers]
    return {"judge": -sum(lengths) / len(lengths), "empty": float(lengths.count(0))}


def main() -> None:
    torch.set_num_threads(1)
    kind, *configs = sys.argv[1:]
    if kind == "ppo":
        run_ppo(load_config(Path(configs[0]), PpoRunConfig), judge)
    else:
        run_sft(load_config(Path(configs[0]), SftConfig))
        run_reward(load_config(Path(configs[1]), RewardConfig))


if __name__ == "__main__":
    main()
