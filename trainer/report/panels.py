"""Which curves a report draws, by kind of run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str  # the label of the y axis
    keys: tuple[tuple[str, str], ...]  # (metric, name in the legend); one key: the legend names the runs


def _panel(key: str, title: str, unit: str) -> Panel:
    return Panel(title, unit, ((key, title),))


PPO_PANELS = (
    _panel("score", "Score of the reward model", "mean score (reference: 0)"),
    _panel("reward", "Reward after the KL penalty", "mean sum over an answer"),
    _panel("kl_nats", "KL to the reference", "nats per answer"),
    _panel("judge", "Lexicon judge", "mean compound, −1 to 1"),
    _panel("eval_score", "Score, held-out questions", "mean score (reference: 0)"),
    _panel("eval_kl_nats", "KL, held-out questions", "nats per answer"),
    _panel("eval_judge", "Lexicon judge, held-out questions", "mean compound, −1 to 1"),
    _panel("eval_distinct_bigrams_ratio", "Distinct bigrams, held-out questions", "share, 0 to 1"),
    _panel("entropy", "Entropy of the policy", "nats per token"),
    _panel("answer_tokens", "Length of answers", "tokens"),
    _panel("ended_ratio", "Answers that end with EOS", "share, 0 to 1"),
    _panel("policy_loss", "Policy loss", "clipped objective"),
    _panel("value_loss", "Value loss", "half squared error"),
    _panel("explained_variance", "Variance explained by the values", "share, at most 1"),
    _panel("ptx_loss", "Pretraining (PTX) loss", "nats per token"),
    _panel("clip_ratio", "Tokens with a clipped ratio", "share, 0 to 1"),
    _panel("ratio_max", "Largest probability ratio", "π new / π old"),
    _panel("kl_coef", "KL coefficient", "score per nat"),
    Panel(
        "Time of an update", "seconds",
        (("seconds_sample", "sampling"), ("seconds_measure", "measuring"), ("seconds_judge", "judging"),
         ("seconds_update", "updating")),
    ),
)  # fmt: skip
LOSSES = (("loss", "training"), ("heldout_loss", "held out"))
ACCURACIES = (("accuracy", "training"), ("heldout_accuracy", "held out"))
SFT_PANELS = (Panel("Language model loss", "nats per token", LOSSES),)
REWARD_PANELS = (
    Panel("Ranking loss", "nats per pair", LOSSES),
    Panel("Pairs in people's order", "share, 0.5 is chance", ACCURACIES),
)

PANELS: dict[str, tuple[Panel, ...]] = {"sft": SFT_PANELS, "reward": REWARD_PANELS, "ppo": PPO_PANELS}
"""By kind of run."""
