"""What names something names something that exists: selectors, ports, accounts, configuration, volumes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifests import DEPLOY, Object, Pod, named, of_kind, overlay, pod, pods, selects, with_component


def chosen(objects: tuple[Object, ...], selector: Object) -> list[Pod]:
    return [candidate for candidate in pods(objects) if selects(selector, candidate.labels)]


def variant(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["objects"])


def port_names(candidate: Pod) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in candidate.main.get("ports", [])}


def test_services_choose_pods_that_open_their_ports(objects: tuple[Object, ...]) -> None:
    for service in of_kind(objects, "Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        found = chosen(objects, {"matchLabels": spec["selector"]})
        assert {candidate.owner["metadata"]["name"] for candidate in found} == {name}
        for candidate in found:
            for port in spec["ports"]:
                if isinstance(port.get("targetPort"), str):
                    assert port_names(candidate)[port["targetPort"]] == port["port"], name


def test_deployments_choose_their_own_pods(objects: tuple[Object, ...]) -> None:
    for deployment in of_kind(objects, "Deployment"):
        owners = [found.owner for found in chosen(objects, deployment["spec"]["selector"])]
        assert owners == [deployment]


def test_every_deployment_has_one_disruption_budget(objects: tuple[Object, ...]) -> None:
    budgets = of_kind(objects, "PodDisruptionBudget")
    covered = [found.name for budget in budgets for found in chosen(objects, budget["spec"]["selector"])]
    assert sorted(covered) == sorted(
        f"Deployment/{item['metadata']['name']}" for item in of_kind(objects, "Deployment")
    )


def test_accounts_exist_and_no_pod_gets_a_token(objects: tuple[Object, ...]) -> None:
    accounts = {item["metadata"]["name"] for item in of_kind(objects, "ServiceAccount")}
    for candidate in pods(objects):
        assert candidate.spec["serviceAccountName"] in accounts - {"launcher"}, candidate.name
        assert candidate.spec["automountServiceAccountToken"] is False
    for account in of_kind(objects, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    (binding,) = of_kind(objects, "RoleBinding")
    (role,) = of_kind(objects, "Role")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "launcher", "namespace": "rlhf"}]


def test_the_launchers_role_names_objects_that_exist(objects: tuple[Object, ...]) -> None:
    kinds = {"cronjobs": "CronJob", "deployments": "Deployment"}
    (role,) = of_kind(objects, "Role")
    for rule in role["rules"]:
        for name in rule.get("resourceNames", []):
            assert named(objects, kinds[rule["resources"][0]], name)


def test_every_mount_has_its_volume_and_every_volume_its_source(objects: tuple[Object, ...]) -> None:
    maps = {item["metadata"]["name"] for item in of_kind(objects, "ConfigMap")}
    claims = {item["metadata"]["name"] for item in of_kind(objects, "PersistentVolumeClaim")}
    used: set[str] = set()
    for candidate in pods(objects):
        volumes = {volume["name"]: volume for volume in candidate.spec["volumes"]}
        mounted = {mount["name"] for container in candidate.containers for mount in container["volumeMounts"]}
        assert mounted == set(volumes), candidate.name
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                used.add(volume["persistentVolumeClaim"]["claimName"])
    assert used == claims


def test_servers_cannot_write_to_models_and_runs(objects: tuple[Object, ...]) -> None:
    for candidate in pods(objects):
        for mount in candidate.main["volumeMounts"]:
            writes = candidate.owner["kind"] != "Deployment" and mount["name"] == "runs"
            loads = candidate.name == "Job/make-models"
            if mount["name"] in ("models", "runs") and not (writes or loads):
                assert mount["readOnly"] is True, candidate.name


@pytest.mark.parametrize("name", ["reward", "policy"])
def test_autoscalers_scale_deployments_whose_size_nothing_else_sets(name: str) -> None:
    objects = overlay("prod")
    spec = named(objects, "ScaledObject", name)["spec"]
    assert spec["scaleTargetRef"] == {"name": name}
    assert "replicas" not in named(objects, "Deployment", name)["spec"]
    assert spec["minReplicaCount"] >= 1
    assert f'pod=~"{name}-.*"' in spec["triggers"][0]["metadata"]["query"]
    assert re.fullmatch(f"{name}-.*", f"{name}-677ff8bcb4-gxlc6")


def test_the_frozen_reference_is_not_scaled() -> None:
    assert {item["metadata"]["name"] for item in of_kind(overlay("prod"), "ScaledObject")} == {"reward", "policy"}


@pytest.mark.parametrize(
    ("name", "scraped"),
    [
        ("servers", {"Deployment/reward", "Deployment/reference", "Deployment/policy"}),
        ("trainers", {"CronJob/trainer"}),
    ],
)
def test_a_pod_monitor_scrapes_its_pods_by_the_name_of_their_port(name: str, scraped: set[str]) -> None:
    objects = overlay("prod")
    monitor = named(objects, "PodMonitor", name)
    found = chosen(objects, monitor["spec"]["selector"])
    assert {candidate.name for candidate in found} == scraped
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert all(port_names(candidate)[endpoint["port"]] == 9090 for candidate in found)
    for label in monitor["spec"].get("podTargetLabels", []):
        assert all(label in candidate.labels for candidate in found)
    groups = [group for rule in of_kind(objects, "PrometheusRule") for group in rule["spec"]["groups"]]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    job = f"{monitor['metadata']['namespace']}/{monitor['metadata']['name']}"
    assert any(f'job="{job}"' in expression for expression in expressions)


def test_jobs_wait_in_the_queue_of_the_component() -> None:
    objects = overlay("prod")
    (queue,) = of_kind(objects, "LocalQueue")
    template = named(objects, "CronJob", "trainer")["spec"]["jobTemplate"]
    assert template["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == queue["metadata"]["name"]
    assert "suspend" not in template["spec"]  # Kueue's webhook suspends; a Job that we suspend stays so
    example = (DEPLOY / "cluster" / "kueue.yaml").read_text()
    assert f"kind: ClusterQueue\nmetadata:\n  name: {queue['spec']['clusterQueue']}\n" in example


def test_no_placeholder_image_is_left(objects: tuple[Object, ...], request: pytest.FixtureRequest) -> None:
    images = {container["image"] for candidate in pods(objects) for container in candidate.containers}
    bare = {image for image in images if ":" not in image}
    assert bare == ({"rewardplane"} if variant(request).startswith("base+") else set())
    assert not [image for image in images if image.endswith(":latest")]


def test_the_jobset_runs_the_pod_of_the_job(objects: tuple[Object, ...], request: pytest.FixtureRequest) -> None:
    if variant(request) != "base+jobset":
        assert not of_kind(objects, "JobSet")
        return
    assert pod(objects, "JobSet", "trainer").spec == pod(objects, "CronJob", "trainer").spec
    assert named(objects, "JobSet", "trainer")["spec"]["suspend"] is True


def test_pods_of_a_job_have_names_before_they_are_ready() -> None:
    objects = overlay("prod")
    service = named(objects, "Service", "trainer")["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    assert pod(objects, "CronJob", "trainer").spec["subdomain"] == "trainer"


def test_a_training_job_restarts_as_it_should() -> None:
    job = named(overlay("prod"), "CronJob", "trainer")["spec"]["jobTemplate"]["spec"]
    assert (job["completionMode"], job["podReplacementPolicy"]) == ("Indexed", "Failed")
    assert job["backoffLimit"] % job["completions"] == 0  # counted in pods
    assert job["completions"] == job["parallelism"] == 1
    assert job["ttlSecondsAfterFinished"] >= 86_400
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_a_gang_has_as_many_pods_as_its_ranks_wait_for(tmp_path: Path) -> None:
    objects = with_component("gang", tmp_path)
    job = named(objects, "CronJob", "trainer")["spec"]["jobTemplate"]["spec"]
    words = dict(word.split("=", 1) for word in pod(objects, "CronJob", "trainer").main["command"] if "=" in word)
    assert job["completions"] == job["parallelism"] == int(words["--pods"])
    assert job["backoffLimit"] % job["completions"] == 0
    service = named(objects, "Service", "trainer")
    (port,) = [entry["port"] for entry in service["spec"]["ports"] if entry["name"] == "rendezvous"]
    assert words["--first-pod"] == f"$(JOB_NAME)-0.{service['metadata']['name']}:{port}"
