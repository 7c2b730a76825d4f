"""The dashboard of everything at a glance."""

from __future__ import annotations

from grafana import Dashboard, Panel, Row

COMPONENT = "{{app_kubernetes_io_component}}"

SERVERS = Row(
    "Servers",
    (
        Panel(
            "Replicas that answer",
            "short",
            (('sum by (app_kubernetes_io_component) (up{namespace="rlhf",job="rlhf/servers"})', COMPONENT),),
            kind="stat",
            width=6,
        ),
        Panel("Pairs a second", "ops", (("component:rewardplane_pairs:rate5m", COMPONENT),), kind="stat", width=6),
        Panel("Busy", "percentunit", (("component:rewardplane_busy:ratio5m", COMPONENT),), kind="stat", width=6),
        Panel(
            "Turned away", "percentunit", (("component:rewardplane_refused:ratio5m", COMPONENT),), kind="stat", width=6
        ),
        Panel(
            "Wait in the queue, 99th percentile", "s", (("component:rewardplane_queue_wait_seconds:p99_5m", COMPONENT),)
        ),
        Panel(
            "Calls, 99th percentile",
            "s",
            (("component:grpc_server_handling_seconds:p99_5m", COMPONENT + " {{grpc_method}}"),),
        ),
        Panel("Policy version", "short", (('rewardplane_policy_version{namespace="rlhf"}', "{{pod}}"),)),
        Panel(
            "Device memory in use",
            "percentunit",
            (
                (
                    'rewardplane_device_memory_bytes{namespace="rlhf",kind="used"} / ignoring (kind)'
                    ' rewardplane_device_memory_bytes{namespace="rlhf",kind="total"}',
                    "{{pod}}",
                ),
            ),
        ),
        Panel(
            "Processor",
            "short",
            (('rate(process_cpu_seconds_total{namespace="rlhf"}[$__rate_interval])', "{{pod}}"),),
            "Cores in use.",
        ),
        Panel(
            "Tokens a second, by caller",
            "short",
            (
                (
                    'sum by (identity) (rate(rewardplane_caller_tokens_total{namespace="rlhf"}[$__rate_interval]))',
                    "{{identity}}",
                ),
            ),
        ),
    ),
)
RUNS = Row(
    "Training runs",
    (
        Panel(
            "Done",
            "percentunit",
            (
                (
                    'rewardplane_trainer_update{namespace="rlhf"}'
                    ' / rewardplane_trainer_planned_updates{namespace="rlhf"}',
                    "{{run}}",
                ),
            ),
            kind="stat",
            width=6,
        ),
        Panel(
            "Last update",
            "dateTimeFromNow",
            (('1000 * rewardplane_trainer_last_update_timestamp_seconds{namespace="rlhf"}', "{{run}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Updates an hour",
            "short",
            (('3600 * sum by (run) (rate(rewardplane_trainer_updates_total{namespace="rlhf"}[15m]))', "{{run}}"),),
            kind="stat",
            width=6,
        ),
        Panel(
            "Waiting for judges",
            "percentunit",
            (
                (
                    'sum by (run) (rate(rewardplane_trainer_stage_seconds_total{namespace="rlhf",stage="judge"}[15m]))',
                    "{{run}}",
                ),
            ),
            kind="stat",
            width=6,
        ),
        Panel("Score", "short", (('rewardplane_trainer_score{namespace="rlhf"}', "{{run}}"),)),
        Panel("KL to the reference", "short", (('rewardplane_trainer_kl_nats{namespace="rlhf"}', "{{run}}"),)),
        Panel("Loss of SFT and reward models", "short", (('rewardplane_trainer_loss{namespace="rlhf"}', "{{run}}"),)),
    ),
)
ALERTS = Row(
    "Alerts",
    (
        Panel(
            "Firing",
            "short",
            (('count by (alertname) (ALERTS{alertname=~"Rewardplane.*",alertstate="firing"})', "{{alertname}}"),),
            width=24,
        ),
    ),
)

FLEET = Dashboard(uid="rewardplane-fleet", title="rewardplane: fleet", rows=(SERVERS, RUNS, ALERTS))
