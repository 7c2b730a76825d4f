"""Trains with rewardplane, block by block.

our_worker.py MODELS REWARD REFERENCE QUESTIONS ANSWER_TOKENS EPOCHS THREADS OUTPUT AHEAD
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import SupportsFloat

import torch
from blocks import Blocks
from rewardplane.trainer.config import parse_config
from rewardplane.trainer.ppo import train
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.progress import RunLog

from rewardplane.process import prepare_process


def main() -> None:
    models, reward, reference, questions, answer_tokens, epochs, threads, output, ahead = sys.argv[1:]
    prepare_process()  # as the command line does
    torch.set_num_threads(int(threads))
    blocks = Blocks()

    class TimedLog(RunLog):
        """What a run writes at the end of every update, and then the clock."""

        def write(self, update: int, metrics: Mapping[str, SupportsFloat], show: Sequence[str] = ()) -> None:
            super().write(update, metrics, show)
            stages = {name: float(value) for name, value in metrics.items() if name.startswith("seconds_")}
            blocks.update_done({**stages, "answer_tokens": float(metrics["answer_tokens"])})

    config = {
        "updates": 1_000_000,
        "policy": {"path": f"{models}/sft"},
        "value": {"path": f"{models}/reward"},
        "reward": {"target": reward},
        "reference": {"target": reference},
        "data": {"prompts": f"{models}/prompts.jsonl"},
        "sampling": {
            "questions_per_update": int(questions),
            "max_answer_tokens": int(answer_tokens),
            "ahead": int(ahead),
        },
        "score": {"normalise_answers": 0},
        "ppo": {"epochs": int(epochs), "minibatches": 1},
        "policy_optimizer": {"learning_rate": 3e-6},
        "value_optimizer": {"learning_rate": 3e-6},
        "output": {"directory": str(Path(output))},
    }
    blocks.wait()
    train.RunLog = TimedLog
    train.run_ppo(parse_config(config, PpoRunConfig, "benchmark"))


if __name__ == "__main__":
    main()
