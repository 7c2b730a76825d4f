"""Which figure of metrics.jsonl is which metric; docs/metrics.md has the formulas.

TensorBoard shows a figure under its own name, of which the metric's is made: `kl_nats` and
`rewardplane_trainer_kl_nats`. Where the two differ by more than that, it is for the unit.
"""

from __future__ import annotations

PREFIX = "rewardplane_trainer_"

GAUGES = {
    # PPO: of the last update
    "score": "score",
    "score_std": "score_std",
    "normalised_score": "normalised_score",
    "reward": "reward",
    "kl_nats": "kl_nats",
    "kl_k3_nats": "kl_k3_nats",
    "kl_coef": "kl_coef",
    "entropy": "entropy_nats",
    "answer_tokens": "answer_tokens",
    "ended_ratio": "ended_ratio",
    "value": "value",
    "explained_variance": "explained_variance",
    "policy_loss": "policy_loss",
    "value_loss": "value_loss",
    "ptx_loss": "ptx_loss",
    "clip_ratio": "clip_ratio",
    "approx_kl": "approx_kl_nats",
    "first_ratio_deviation": "first_ratio_deviation",
    "policy_grad_norm": "policy_grad_norm",
    "value_grad_norm": "value_grad_norm",
    "learning_rate": "learning_rate",
    # PPO: of the last evaluation
    "eval_score": "eval_score",
    "eval_kl_nats": "eval_kl_nats",
    "eval_answer_tokens": "eval_answer_tokens",
    "eval_ended_ratio": "eval_ended_ratio",
    "eval_distinct_bigrams_ratio": "eval_distinct_bigrams_ratio",
    "eval_judge": "eval_judge",
    # SFT and reward models
    "loss": "loss",
    "accuracy": "accuracy_ratio",
    "grad_norm": "grad_norm",
    "heldout_loss": "heldout_loss",
    "heldout_accuracy": "heldout_accuracy_ratio",
    "heldout_mean_score": "heldout_mean_score",
}
"""By figure; the metric holds its last value."""

COUNTERS = {"episodes": "episodes_total", "tokens": "tokens_total"}
"""By figure; the metric is the sum over updates."""

STAGES = {f"seconds_{stage}": stage for stage in ("evaluate", "sample", "measure", "judge", "update")}
"""By figure: the stage of an update whose seconds it has."""
WRITING = ("checkpoint", "publish")
"""Stages that go on in the background."""

ELSEWHERE = {"judge_retries", "judge_outage_seconds", "seconds_total", "tokens_per_s"}
"""Figures that other metrics have, by judge or as the rate of a counter."""
