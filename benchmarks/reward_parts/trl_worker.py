"""Trains with TRL's RewardTrainer on expanded pairs, block by block: trl_worker.py QUESTIONS PAIRS OUTPUT

QUESTIONS a step, PAIRS in a forward pass.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "ppo_parts"))

from blocks import Blocks
from datasets import Dataset
from questions import PAD, VOCABULARY, expanded, make_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import RewardConfig, RewardTrainer

QUESTIONS_IN_FILE = 512


class EndOfUpdate(TrainerCallback):
    """Tells the blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self.blocks.update_done({})


def main() -> None:
    questions, pairs, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    blocks = Blocks()
    words = {str(number): number for number in range(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token=str(PAD))), pad_token=str(PAD), eos_token="1"
    )
    rows = [row for number in range(QUESTIONS_IN_FILE) for row in expanded(number)]
    settings = RewardConfig(
        output_dir=output, max_steps=1_000_000, per_device_train_batch_size=pairs,
        gradient_accumulation_steps=questions * 36 // pairs, learning_rate=1e-5, max_length=None, use_cpu=True,
        bf16=False, gradient_checkpointing=False,  # both are on by default, and slow it down here
        logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = RewardTrainer(
        model=make_model(),
        args=settings,
        # With a fingerprint given: dill cannot hash pyarrow's types for one.
        train_dataset=Dataset(pyarrow.Table.from_pylist(rows), fingerprint="expanded-pairs"),
        processing_class=tokenizer,
        callbacks=[EndOfUpdate(blocks)],
    )
    blocks.wait()
    trainer.train()


if __name__ == "__main__":
    main()
