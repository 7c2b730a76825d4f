"""What all experiments begin with: the demo's language model and its prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rewardplane.trainer.demo.prepare import PrepareConfig, prepare
from rewardplane.trainer.demo.settings import FROM_SCRATCH, reward_settings, sft_settings
from rewardplane.trainer.demo.vader_data import load_rated_texts
from rewardplane.trainer.reward.train import run_reward
from rewardplane.trainer.sft.train import run_sft

ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Base:
    directory: Path

    @property
    def sft(self) -> Path:
        return self.directory / "sft" / "checkpoint"

    @property
    def reward(self) -> Path:
        """Of people's ratings of whole texts: what a team may have before its first round."""
        return self.directory / "reward" / "checkpoint"

    def data(self, name: str) -> Path:
        return self.directory / "data" / f"{name}.jsonl"


def prepared(directory: Path, cache: Path) -> Base:
    """Trains what the directory lacks; about six minutes on two cores."""
    base = Base(directory)
    if not base.reward.exists():
        data = prepare(load_rated_texts(cache), directory / "data", PrepareConfig())
        if not base.sft.exists():
            run_sft(sft_settings(data, directory / "sft", FROM_SCRATCH, seed=0))
        run_reward(reward_settings(data, directory / "reward", base.sft, FROM_SCRATCH, seed=0))
    return base


def round_toml(
    base: Base, path: Path, *, seed: int, questions: int, updates: int, kl_coef: float, backbone: Path
) -> Path:
    """Settings of a round: the demo's, with K = 9; its first reward model begins with `backbone`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""seed = {seed}
sft = "{base.sft}"
prompts = "{base.data("prompts")}"
heldout_prompts = "{base.data("prompts_heldout")}"
pretraining = "{base.data("pretraining")}"
max_answer_tokens = {ANSWER_TOKENS}
[sample]
questions = {questions}
answers = 9
temperatures = [0.8, 1.0, 1.2]
[reward]
backbone = "{backbone}"
epochs = 3
optimizer = {{ learning_rate = 3e-4, warmup_updates = 5 }}
[policy]
updates = {updates}
evaluate_every = 5
kl = {{ coef = {kl_coef} }}
ppo = {{ ptx_coef = 0.1, ptx_texts = 16 }}
policy_optimizer = {{ learning_rate = 3e-4, warmup_updates = 5, schedule = "constant" }}
value_optimizer = {{ learning_rate = 5e-4, warmup_updates = 5, schedule = "constant" }}
"""
    )
    return path
