"""The dashboard of one server role: is it up, is it fast, is it full, does it answer what it used to?"""

from __future__ import annotations

from grafana import Dashboard, Panel, Row

OF = 'namespace="rlhf",app_kubernetes_io_component=~"$component"'
COMPONENT = "{{app_kubernetes_io_component}}"
BY = "by (app_kubernetes_io_component)"
RECORDED = 'app_kubernetes_io_component=~"$component"'


def rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{OF}{more}}}[$__rate_interval])"


def quantile(q: float, metric: str) -> tuple[str, str]:
    expression = f"histogram_quantile({q}, sum {BY.replace(')', ', le)')} ({rate(metric + '_bucket')}))"
    return expression, f"{COMPONENT} p{q * 100:g}"


NOW = Row(
    "Now",
    (
        Panel(
            "Replicas that answer", "short", ((f'sum {BY} (up{{{OF},job="rlhf/servers"}})', COMPONENT),), kind="stat"
        ),
        Panel(
            "Pairs a second", "ops", ((f"component:rewardplane_pairs:rate5m{{{RECORDED}}}", COMPONENT),), kind="stat"
        ),
        Panel(
            "Busy",
            "percentunit",
            ((f"component:rewardplane_busy:ratio5m{{{RECORDED}}}", COMPONENT),),
            "Share of the time in which the device computes.",
            kind="stat",
        ),
    ),
)
CALLS = Row(
    "Calls",
    (
        Panel(
            "Calls a second, by status",
            "ops",
            (
                (
                    f"sum by (app_kubernetes_io_component, grpc_code) ({rate('grpc_server_handled_total')})",
                    COMPONENT + " {{grpc_code}}",
                ),
            ),
        ),
        Panel(
            "Duration, 99th percentile",
            "s",
            ((f"component:grpc_server_handling_seconds:p99_5m{{{RECORDED}}}", COMPONENT + " {{grpc_method}}"),),
        ),
        Panel(
            "Refused, by reason",
            "ops",
            (
                (
                    f"sum by (app_kubernetes_io_component, reason) ({rate('rewardplane_refused_total')}) > 0 or"
                    f" 0 * sum {BY} ({rate('rewardplane_refused_total')})",
                    COMPONENT + " {{reason}}",
                ),
            ),
        ),
        Panel(
            "Calls a second, by caller",
            "ops",
            ((f"sum by (identity) ({rate('rewardplane_caller_calls_total')})", "{{identity}}"),),
        ),
        Panel(
            "Tokens a second, by caller",
            "short",
            ((f"sum by (identity) ({rate('rewardplane_caller_tokens_total')})", "{{identity}}"),),
        ),
        Panel(
            "Accepted, and no result",
            "ops",
            (
                (
                    f"sum by (app_kubernetes_io_component, reason) ({rate('rewardplane_dropped_total')})",
                    COMPONENT + " {{reason}}",
                ),
            ),
        ),
    ),
)
QUEUE = Row(
    "Queue and batches",
    (
        Panel(
            "Queue, share of its limit",
            "percentunit",
            ((f"rewardplane_queue_tokens{{{OF}}} / rewardplane_queue_limit_tokens{{{OF}}}", "{{pod}}"),),
        ),
        Panel("Pairs that wait", "short", ((f"rewardplane_queue_pairs{{{OF}}}", "{{pod}}"),)),
        Panel(
            "Wait in the queue",
            "s",
            (quantile(0.5, "rewardplane_queue_wait_seconds"), quantile(0.99, "rewardplane_queue_wait_seconds")),
        ),
        Panel("Pairs of a batch", "short", (quantile(0.5, "rewardplane_batch_pairs"),)),
        Panel("Tokens of a batch", "short", (quantile(0.5, "rewardplane_batch_tokens"),)),
        Panel(
            "Forward pass",
            "s",
            (quantile(0.5, "rewardplane_forward_seconds"), quantile(0.99, "rewardplane_forward_seconds")),
        ),
        Panel(
            "Tokens saved by sharing",
            "percentunit",
            ((f"component:rewardplane_sharing:ratio5m{{{RECORDED}}}", COMPONENT),),
        ),
        Panel("Padding", "percentunit", ((f"component:rewardplane_filler:ratio5m{{{RECORDED}}}", COMPONENT),)),
        Panel(
            "Tokens a second",
            "short",
            (
                (
                    f"sum by (app_kubernetes_io_component, kind) ({rate('rewardplane_tokens_total')})",
                    COMPONENT + " {{kind}}",
                ),
            ),
        ),
    ),
)
SCORES = Row(
    "Scores",
    (
        Panel("Mean score", "short", ((f"component:rewardplane_score:mean5m{{{RECORDED}}}", COMPONENT),)),
        Panel(
            "Distribution",
            "short",
            ((f"sum by (le) (increase(rewardplane_scores_bucket{{{OF}}}[$__rate_interval]))", "{{le}}"),),
            kind="heatmap",
        ),
        Panel(
            "Distance to the scores of a day ago",
            "short",
            ((f"component:rewardplane_scores:ks_1h_1d{{{RECORDED}}}", COMPONENT),),
            "Kolmogorov-Smirnov distance, 0 to 1. Empty until there are scores of a day ago.",
        ),
        Panel(
            "NaN, infinity, forward passes that failed",
            "short",
            (
                (f"sum by (pod) (increase(rewardplane_non_finite_total{{{OF}}}[1h]))", "{{pod}} not finite"),
                (f"sum by (pod) (increase(rewardplane_forward_failures_total{{{OF}}}[1h]))", "{{pod}} failed"),
            ),
        ),
    ),
)
MODEL = Row(
    "Model and memory",
    (
        Panel(
            "Served", "short", ((f"rewardplane_model_info{{{OF}}}", "{{pod}} {{model_name}} {{dtype}}"),), kind="stat"
        ),
        Panel("Policy version", "short", ((f"rewardplane_policy_version{{{OF}}}", "{{pod}}"),), kind="stat"),
        Panel(
            "Loaded",
            "dateTimeFromNow",
            ((f"1000 * rewardplane_model_load_timestamp_seconds{{{OF}}}", "{{pod}}"),),
            kind="stat",
        ),
        Panel("Device memory", "bytes", ((f"rewardplane_device_memory_bytes{{{OF}}}", "{{pod}} {{kind}}"),)),
        Panel("Time to load", "s", ((f"rewardplane_model_load_seconds{{{OF}}}", "{{pod}}"),)),
        Panel("Loads that failed", "short", ((f"rewardplane_model_load_failures_total{{{OF}}}", "{{pod}}"),)),
    ),
)

SCORING_SERVICE = Dashboard(
    uid="rewardplane-scoring",
    title="rewardplane: scoring service",
    rows=(NOW, CALLS, QUEUE, SCORES, MODEL),
    variables=(("component", 'label_values(rewardplane_model_info{namespace="rlhf"}, app_kubernetes_io_component)'),),
)
