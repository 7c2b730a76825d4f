"""The dashboard of PPO runs: is it going on, and is it going well?"""

from __future__ import annotations

from grafana import Dashboard, Panel, Row

OF = 'namespace="rlhf",run=~"$run"'


def figure(name: str) -> str:
    return f"rewardplane_trainer_{name}{{{OF}}}"


def curves(title: str, unit: str, *names: str, note: str = "") -> Panel:
    """Figures of the last update; the legend names them where there are several."""
    legend = "{{run}} " if len(names) > 1 else "{{run}}"
    return Panel(title, unit, tuple((figure(name), legend + (name if len(names) > 1 else "")) for name in names), note)


PROGRESS = Row(
    "Progress",
    (
        Panel("Updates", "short", ((figure("update"), "{{run}}"),), kind="stat", width=6),
        Panel(
            "Done",
            "percentunit",
            ((f"{figure('update')} / {figure('planned_updates')}", "{{run}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Last update",
            "dateTimeFromNow",
            ((f"1000 * {figure('last_update_timestamp_seconds')}", "{{run}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Last checkpoint",
            "dateTimeFromNow",
            ((f"1000 * {figure('last_checkpoint_timestamp_seconds')}", "{{run}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Seconds of an update, by stage",
            "s",
            (('run:rewardplane_trainer_update_seconds:mean15m{run=~"$run"}', "{{run}} {{stage}}"),),
        ),
        Panel(
            "Tokens a second",
            "short",
            ((f"sum by (run) (rate(rewardplane_trainer_tokens_total{{{OF}}}[$__rate_interval]))", "{{run}}"),),
        ),
        Panel(
            "Answers a second",
            "ops",
            ((f"sum by (run) (rate(rewardplane_trainer_episodes_total{{{OF}}}[$__rate_interval]))", "{{run}}"),),
        ),
    ),
)
GOING_WELL = Row(
    "Is it going well?",
    (
        curves("Score of the reward model", "short", "score", note="As the judge gives it, mean over answers."),
        curves("Reward after the KL penalty", "short", "reward", note="Mean sum over an answer."),
        curves("KL to the reference", "short", "kl_nats", "kl_k3_nats", note="Nats an answer; k1 and k3."),
        curves("Held-out questions: score", "short", "eval_score"),
        curves("Held-out questions: KL", "short", "eval_kl_nats", note="Nats an answer."),
        curves(
            "Held-out questions: distinct bigrams",
            "percentunit",
            "eval_distinct_bigrams_ratio",
            note="Falls when answers become alike: with a rising score, suspect reward hacking.",
        ),
        curves("Length of answers", "short", "answer_tokens", note="Tokens."),
        curves("Answers that end with EOS", "percentunit", "ended_ratio"),
        curves("Entropy", "short", "entropy_nats", note="Nats a token."),
    ),
)
LEARNING = Row(
    "Learning",
    (
        curves("Policy loss", "short", "policy_loss"),
        curves("Value loss", "short", "value_loss"),
        curves("PTX loss", "short", "ptx_loss", note="Nats a token of pretraining text."),
        curves("Explained variance", "short", "explained_variance"),
        curves("Clipped tokens", "percentunit", "clip_ratio"),
        curves(
            "KL of an update", "short", "approx_kl_nats", note="Nats a token, the sampling policy to the updated one."
        ),
        curves("Gradient norms", "short", "policy_grad_norm", "value_grad_norm", note="Before the clip."),
        curves("Learning rate", "sci", "learning_rate"),
        curves("KL coefficient", "short", "kl_coef"),
        curves("Normalised score", "short", "normalised_score", note="Standard deviations of the untrained policy's."),
        curves("Spread of scores", "short", "score_std"),
        curves("Values", "short", "value"),
    ),
)
AROUND = Row(
    "Judges, disk, memory",
    (
        Panel(
            "Judges away",
            "percentunit",
            (
                (
                    "sum by (run, judge)"
                    f" (rate(rewardplane_trainer_judge_outage_seconds_total{{{OF}}}[$__rate_interval]))",
                    "{{run}} {{judge}}",
                ),
            ),
            "Share of the time.",
        ),
        Panel(
            "Calls that were made again",
            "ops",
            (
                (
                    f"sum by (run, judge) (rate(rewardplane_trainer_judge_retries_total{{{OF}}}[$__rate_interval]))",
                    "{{run}} {{judge}}",
                ),
            ),
        ),
        Panel(
            "Writing in the background",
            "percentunit",
            (
                (
                    f"sum by (run, stage) (rate(rewardplane_trainer_write_seconds_total{{{OF}}}[$__rate_interval]))",
                    "{{run}} {{stage}}",
                ),
            ),
            "Share of the time.",
        ),
        Panel("Device memory", "bytes", ((f"rewardplane_device_memory_bytes{{{OF}}}", "{{run}} {{kind}}"),)),
        curves("Published policy", "short", "policy_version"),
        curves(
            "Ratio of the first minibatch",
            "short",
            "first_ratio_deviation",
            note="Distance from 1; 0 it should be, unless answers are sampled ahead.",
        ),
    ),
)

PPO_RUN = Dashboard(
    uid="rewardplane-ppo",
    title="rewardplane: PPO run",
    rows=(PROGRESS, GOING_WELL, LEARNING, AROUND),
    variables=(("run", 'label_values(rewardplane_trainer_info{namespace="rlhf",kind="ppo"}, run)'),),
)
