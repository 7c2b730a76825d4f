"""For each alert: series that make it fire, and series that come near and must not.

Series are written as promtool reads them: `a+bxn` is a, a + b, ... n more times, `_` is no sample. A step is a minute;
Unix time begins at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

Series = dict[str, str]

SERVER = 'namespace="rlhf",job="rlhf/servers",app_kubernetes_io_component="reward"'
RUN = 'namespace="rlhf",job="rlhf/trainers",run="ppo-1"'
OF_REWARD = {"app_kubernetes_io_component": "reward"}
OF_RUN = {"run": "ppo-1"}


@dataclass(frozen=True)
class Case:
    alert: str
    labels: dict[str, str]
    at_minute: int
    fires: list[Series]
    silent: list[Series]
    every: str = "1m"
    """How often the rules are evaluated."""


def server(metric: str, more: str = "", pod: str = "reward-1") -> str:
    return f'{metric}{{{SERVER},pod="{pod}"{more}}}'


def run(metric: str, more: str = "", pod: str = "ppo-1-a") -> str:
    return f'rewardplane_trainer_{metric}{{{RUN},pod="{pod}"{more}}}'


def scores(a_minute: float, *, low: float, low_later: float) -> Series:
    """So many scores a minute; the share `low` of them is at most 0, and after a day `low_later`."""
    of = ',model_name="rm"'
    then, now = low * a_minute, low_later * a_minute
    return {
        server("rewardplane_scores_count", of): f"0+{a_minute}x1700",
        server("rewardplane_scores_bucket", f'{of},le="+Inf"'): f"0+{a_minute}x1700",
        server("rewardplane_scores_bucket", f'{of},le="0.0"'): f"0+{then}x1439 {1440 * then}+{now}x260",
    }


def slow(seconds_bucket: str) -> Series:
    """60 calls a minute, all in one bucket."""
    bounds = ["1.0", "5.0", "10.0", "+Inf"]
    first = bounds.index(seconds_bucket)
    method = ',grpc_service="rewardplane.v1.ScoringService",grpc_method="ScoreAnswers"'
    name = "grpc_server_handling_seconds_bucket"
    return {
        server(name, f'{method},le="{bound}"'): "0+60x40" if place >= first else "0x40"
        for place, bound in enumerate(bounds)
    }


def hacking(score: str, judge: str = "0.5x200", distinct: str = "0.8x200") -> Series:
    return {
        run("normalised_score"): score,
        run("eval_judge"): judge,
        run("eval_distinct_bigrams_ratio"): distinct,
    }


RISING, STEADY = "0+0.01x200", "1x200"

CASES = [
    Case(
        "RewardplaneServerDown", OF_REWARD, 20,
        fires=[
            {server("up"): "1x10 0x20", server("up", pod="reward-2"): "0x30"},
            {server("up"): "1x10 _x20"},  # no pod is left that could be asked
        ],
        silent=[
            {server("up"): "1x10 0x20", server("up", pod="reward-2"): "1x30"},  # the other replica answers
            {server("up"): "1x17 0x1 1x20"},  # a restart
        ],
    ),
    Case(
        "RewardplaneQueueSaturated", {"pod": "reward-1"}, 20,
        fires=[{server("rewardplane_queue_tokens"): "900x30", server("rewardplane_queue_limit_tokens"): "1000x30"}],
        silent=[
            {server("rewardplane_queue_tokens"): "700x30", server("rewardplane_queue_limit_tokens"): "1000x30"},
            {server("rewardplane_queue_tokens"): "9x16 900x3 0x9", server("rewardplane_queue_limit_tokens"): "1000x30"},
        ],
    ),
    Case(
        "RewardplaneSlow", OF_REWARD | {"grpc_method": "ScoreAnswers"}, 30, fires=[slow("10.0")], silent=[slow("5.0")]
    ),
    Case(
        "RewardplaneRefusals", OF_REWARD, 20,
        fires=[
            {
                server("rewardplane_refused_total", ',reason="QUEUE_FULL"'): "0+2x30",
                server("rewardplane_caller_calls_total", ',identity="anonymous"'): "0+100x30",
            }
        ],
        silent=[
            {
                server("rewardplane_refused_total", ',reason="QUEUE_FULL"'): "0+1x30",
                server("rewardplane_caller_calls_total", ',identity="anonymous"'): "0+200x30",
            },
            {  # the caller's own fault
                server("rewardplane_refused_total", ',reason="INVALID_PAIRS"'): "0+50x30",
                server("rewardplane_caller_calls_total", ',identity="anonymous"'): "0+100x30",
            },
        ],
    ),
    Case(
        "RewardplaneNonFiniteScores", {"pod": "reward-1"}, 20,
        fires=[{server("rewardplane_non_finite_total"): "0x15 1x15"}],
        silent=[{server("rewardplane_non_finite_total"): "3x30"}],
    ),
    Case(
        "RewardplaneForwardFailures", {"pod": "reward-1"}, 20,
        fires=[{server("rewardplane_forward_failures_total"): "0x15 1x15"}],
        silent=[{server("rewardplane_forward_failures_total"): "3x30"}],
    ),
    Case(
        "RewardplaneScoreDrift", OF_REWARD, 1600,
        fires=[scores(100, low=0.1, low_later=0.6)],  # a distance of 0.5
        silent=[scores(100, low=0.1, low_later=0.3), scores(10, low=0.1, low_later=0.6)],
        every="10m",
    ),
    Case(
        "RewardplaneVersionSkew", OF_REWARD, 60,
        fires=[
            {server("rewardplane_model_digest"): "7x60", server("rewardplane_model_digest", pod="reward-2"): "8x60"},
        ],
        silent=[
            {server("rewardplane_model_digest"): "7x60", server("rewardplane_model_digest", pod="reward-2"): "7x60"},
            {  # a rollout
                server("rewardplane_model_digest"): "7x40 _x20",
                server("rewardplane_model_digest", pod="reward-2"): "_x20 8x40",
            },
        ],
    ),
    Case(
        "RewardplaneTrainerStalled", OF_RUN, 60,
        fires=[
            {run("last_update_timestamp_seconds"): "0+60x20 1200x40", run("finished"): "0x60"},
            {run("last_update_timestamp_seconds"): "0+60x20 _x40", run("finished"): "0x20 _x40"},  # its pod is gone
        ],
        silent=[
            {run("last_update_timestamp_seconds"): "0+60x60", run("finished"): "0x60"},
            {run("last_update_timestamp_seconds"): "0+60x20 _x40", run("finished"): "0x19 1x1 _x40"},  # at its end
            {  # another pod goes on
                run("last_update_timestamp_seconds"): "0+60x20 _x40",
                run("last_update_timestamp_seconds", pod="ppo-1-b"): "_x30 1800+60x30",
                run("finished"): "0x20 _x40",
                run("finished", pod="ppo-1-b"): "_x30 0x30",
            },
        ],
    ),
    Case(
        "RewardplaneKlRunaway", OF_RUN, 90,
        fires=[{run("kl_nats"): "0+0.5x90"}, {run("kl_nats"): "4x85 20x10"}],
        silent=[{run("kl_nats"): "0+0.1x90"}, {run("kl_nats"): "1x85 6x10"}],
    ),
    Case(
        "RewardplaneRewardHackingSuspected", OF_RUN, 190,
        fires=[hacking(RISING, judge="0.5x100 0.3x100"), hacking(RISING, distinct="0.8x100 0.5x100")],
        silent=[
            hacking(RISING),
            hacking(RISING, judge="0.3x100 0.6x100"),
            hacking(STEADY, judge="0.5x100 0.3x100", distinct="0.8x100 0.5x100"),
        ],
    ),
    Case(
        "RewardplaneEntropyCollapse", OF_RUN, 60,
        fires=[{run("entropy_nats"): "2x30 0.3x30"}, {run("entropy_nats"): "0.01x60"}],
        silent=[{run("entropy_nats"): "2x30 0.8x30"}, {run("entropy_nats"): "2x55 0.3x10"}],
    ),
    Case(
        "RewardplaneCheckpointTooOld", OF_RUN, 200,
        fires=[
            {run("last_checkpoint_timestamp_seconds"): "600x200", run("finished"): "0x200"},
            {f"process_start_time_seconds{{{RUN}}}": "60x200", run("finished"): "0x200"},  # none was ever written
        ],
        silent=[
            {run("last_checkpoint_timestamp_seconds"): "0+60x200", run("finished"): "0x200"},
            {  # the process is old, the checkpoint is not
                f"process_start_time_seconds{{{RUN}}}": "60x200",
                run("last_checkpoint_timestamp_seconds"): "0+60x200",
            },
            {run("last_checkpoint_timestamp_seconds"): "600x200", run("finished"): "1x200"},
        ],
    ),
    Case(
        "RewardplaneJudgeOutage", OF_RUN | {"judge": "reward"}, 20,
        fires=[{run("judge_outage_seconds_total", ',judge="reward"'): "0x10 0+60x20"}],
        silent=[{run("judge_outage_seconds_total", ',judge="reward"'): "0x10 0+5x20"}],
    ),
]  # fmt: skip
