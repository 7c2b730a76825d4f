"""Trains with TRL's PPOTrainer, block by block.

trl_worker.py MODELS stock|patched QUESTIONS ANSWER_TOKENS EPOCHS THREADS OUTPUT

"patched" is TRL without its gc.collect() and empty_cache(), which it calls several times an update.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace

import torch
from blocks import Blocks
from models import make_tokenizer, questions
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer


class EndOfUpdate(TrainerCallback):
    """Tells the blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self.blocks.update_done({})


def main() -> None:
    models, variant, batch, answer_tokens, epochs, threads, output = sys.argv[1:]
    torch.set_num_threads(int(threads))
    blocks = Blocks()
    if variant == "patched":
        ppo_trainer.gc = SimpleNamespace(collect=lambda: None)
        ppo_trainer.empty_cache = lambda: None

    def reward_model() -> AutoModelForSequenceClassification:
        return AutoModelForSequenceClassification.from_pretrained(f"{models}/reward")

    settings = PPOConfig(
        output_dir=output, total_episodes=int(batch) * 1_000_000, per_device_train_batch_size=int(batch),
        gradient_accumulation_steps=1, num_mini_batches=1, num_ppo_epochs=int(epochs),
        local_rollout_forward_batch_size=int(batch), response_length=int(answer_tokens), stop_token="eos",
        temperature=1.0, missing_eos_penalty=1.0, learning_rate=3e-6, logging_steps=1, num_sample_generations=0,
        save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
        bf16=False, gradient_checkpointing=False,  # both are on by default, and slow it down here
    )  # fmt: skip
    prompts = [{"input_ids": ids} for ids in questions()]
    trainer = PPOTrainer(
        args=settings,
        processing_class=make_tokenizer(),
        model=AutoModelForCausalLM.from_pretrained(f"{models}/sft"),
        ref_model=AutoModelForCausalLM.from_pretrained(f"{models}/sft"),
        reward_model=reward_model(),
        value_model=reward_model(),
        train_dataset=prompts,
        eval_dataset=prompts,
        callbacks=[EndOfUpdate(blocks)],
    )
    blocks.wait()
    trainer.train()


if __name__ == "__main__":
    main()
