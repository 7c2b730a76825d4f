"""`rewardplane round train`: the reward model from the rankings, then the policy against it."""

from __future__ import annotations

from pathlib import Path

from rewardplane.modeling.checkpoint import read_manifest

from ..config import ConfigError
from ..data import read_ranked
from ..evaluation.pairs import pair_table
from ..evaluation.scoring import score_with_model
from ..models import CHECKPOINT
from ..ppo.evaluate import Judge
from ..ppo.train import run_ppo
from ..progress import read_metrics
from ..reward.train import run_reward
from .names import HELDOUT, RANKINGS, REWARD_RUN
from .place import Round
from .rankings import learnt_rounds, rankings_so_far
from .record import Measured, PolicyTrained, RewardTrained, file_digest
from .runs import policy_config, reward_config
from .servers import Serve


def train_reward(made: Round) -> Round:
    """Trains the round's reward model and measures it; goes on where it was interrupted.

    Raises ConfigError, BadData or BadCheckpoint.
    """
    labelled = made.record.labelled
    if labelled is None:
        raise ConfigError(f"{made.place}: {made.name} has no rankings: `rewardplane round label` comes first")
    if made.record.reward is not None:
        return made
    if file_digest(made.directory / RANKINGS) != labelled.rankings_digest:
        raise ConfigError(f"{made.directory / RANKINGS} is not what was taken in: put it back")
    begin = reward_begin(made)
    checkpoint = made.directory / REWARD_RUN / CHECKPOINT
    # It appears whole: one that is there was trained by this step before it was interrupted.
    if not checkpoint.exists():
        run_reward(reward_config(made, begin, rankings_so_far(made)))
    last = made.last_reward()
    trained = RewardTrained(
        path=f"{REWARD_RUN}/{CHECKPOINT}",
        digest=read_manifest(checkpoint).digest,
        begun_from=read_manifest(begin).digest,
        rounds=tuple(one.record.number for one in learnt_rounds(made)),
        accuracy=accuracy(checkpoint, made.directory / HELDOUT),
        last_accuracy=accuracy(last, made.directory / HELDOUT) if last else None,
    )
    return made.with_step(reward=trained)


def reward_begin(made: Round) -> Path:
    """Where the reward model starts."""
    settings = made.record.settings
    last = made.last_reward()
    return last if last and settings.reward.begin == "last" else settings.reward.backbone or made.sft()


def accuracy(model: Path, rankings: Path) -> Measured | None:
    """Share of pairs in people's order; None where no two answers have different ranks."""
    scored = score_with_model(model, read_ranked(rankings), iter)
    return Measured.of(pair_table(scored.rows, scored.scores).accuracy())


def train_policy(made: Round, serve: Serve, judge: Judge | None = None) -> Round:
    """Trains the round's policy against its reward model; goes on where it was interrupted.

    `judge` adds figures to the evaluations. Raises ConfigError, JudgeGone or JudgeMisfit.
    """
    if made.record.policy is not None:
        return made
    reward = made.trained_reward()
    begin = made.sft() if made.record.settings.policy.begin == "sft" else made.sampled_policy()
    with serve("reward", reward) as reward_at, serve("reference", made.sft()) as reference_at:
        config = policy_config(made, begin, reward, (reward_at, reference_at))
        result = run_ppo(config, judge)
    measured = [row for row in read_metrics(config.output.directory) if row.get("eval_kl_nats") is not None]
    trained = PolicyTrained(
        path=str(result.checkpoint.relative_to(made.directory)),
        digest=result.manifest.digest,
        begun_from=read_manifest(begin).digest,
        updates=result.updates,
        kl_nats=float(measured[-1]["eval_kl_nats"] or 0.0),
    )
    return made.with_step(policy=trained)
