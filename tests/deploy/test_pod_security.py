"""Pods are what namespaces with `restricted` Pod Security admit, and a little more."""

from __future__ import annotations

import pytest
from manifests import Object, named, of_kind, overlay, pods


def test_the_namespace_enforces_restricted(objects: tuple[Object, ...]) -> None:
    labels = named(objects, "Namespace", "rlhf")["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}


def test_pods_are_restricted(objects: tuple[Object, ...]) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "secret",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
    }
    for pod in pods(objects):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] >= 10_000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod.spec)
        assert {key for volume in pod.spec["volumes"] for key in volume if key != "name"} <= allowed
        for container in pod.containers:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert not [port for port in container.get("ports", []) if "hostPort" in port]


def test_memory_is_limited_and_cpu_is_not(objects: tuple[Object, ...]) -> None:
    for pod in pods(objects):
        for container in pod.containers:
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert requests["memory"] == limits["memory"]
            assert requests["cpu"]
            assert "cpu" not in limits
            assert requests.get("nvidia.com/gpu") == limits.get("nvidia.com/gpu")


def test_every_pod_has_its_own_tmp(objects: tuple[Object, ...]) -> None:
    for pod in pods(objects):
        for container in pod.containers:
            assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]
            assert {"name": "HOME", "value": "/tmp"} in container["env"]


def test_the_read_only_root_reaches_every_container_of_the_overlay_without_gpus() -> None:
    for pod in pods(overlay("dev-cpu")):
        assert all(container["securityContext"]["readOnlyRootFilesystem"] for container in pod.containers)


@pytest.mark.parametrize("name", ["single-node-gpu", "prod"])
def test_gpu_pods_have_a_writable_root_and_tolerate_gpu_nodes(name: str) -> None:
    for pod in pods(overlay(name)):
        assert "readOnlyRootFilesystem" not in pod.main["securityContext"]  # NVIDIA's CDI hook writes into it
        assert pod.main["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert [toleration["key"] for toleration in pod.spec["tolerations"]] == ["nvidia.com/gpu"]


def test_nothing_secret_is_written_down(objects: tuple[Object, ...]) -> None:
    assert not of_kind(objects, "Secret")
    for pod in pods(objects):
        names = {item["name"] for container in pod.containers for item in container["env"]}
        assert names <= {"HOME", "HF_HUB_OFFLINE", "JOB_NAME"}


def test_disruption_budgets_let_nodes_drain(objects: tuple[Object, ...]) -> None:
    for budget in of_kind(objects, "PodDisruptionBudget"):
        assert budget["spec"]["maxUnavailable"] == 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
