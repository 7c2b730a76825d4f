"""The network policies let through every call that the code makes, and no other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from manifests import Object, named, of_kind, overlay, pod, selects

GRPC, HEALTH, METRICS, RENDEZVOUS = 8500, 8081, 9090, 29500


@dataclass(frozen=True)
class Place:
    """A pod, as network policies see it."""

    labels: Mapping[str, str]
    namespace: str = "rlhf"


CLIENT = Place({"rewardplane.dev/client": "true"}, "elsewhere")
STRANGER = Place({"app": "shell"}, "elsewhere")
PROMETHEUS = Place({"app.kubernetes.io/name": "prometheus"}, "monitoring")
CLUSTER_DNS = Place({"k8s-app": "kube-dns"}, "kube-system")
NEIGHBOUR = Place({"app": "shell"})
API_SERVER = Place({}, "")
LAUNCHER = Place({"app.kubernetes.io/component": "launcher", "rewardplane.dev/client": "true"})


def place(kind: str, name: str) -> Place:
    return Place(pod(overlay("prod"), kind, name).labels)


def may_reach(objects: tuple[Object, ...], source: Place, target: Place, port: int, protocol: str = "TCP") -> bool:
    """The rules of networking.k8s.io/v1: a pod that no policy of a direction chooses is open in that direction."""
    return _lets(objects, "Egress", source, target, port, protocol) and _lets(
        objects, "Ingress", target, source, port, protocol
    )


def _lets(objects: tuple[Object, ...], way: str, own: Place, other: Place, port: int, protocol: str) -> bool:
    policies = [
        item["spec"]
        for item in of_kind(objects, "NetworkPolicy")
        if item["metadata"]["namespace"] == own.namespace
        and way in item["spec"]["policyTypes"]
        and selects(item["spec"]["podSelector"], own.labels)
    ]
    if not policies:
        return True
    key, peers = ("egress", "to") if way == "Egress" else ("ingress", "from")
    return any(
        any(_is_peer(peer, own, other) for peer in rule[peers])
        and (
            "ports" not in rule
            or {"protocol": protocol, "port": port} in [{"protocol": "TCP", **p} for p in rule["ports"]]
        )
        for policy in policies
        for rule in policy.get(key, [])
    )


def _is_peer(peer: Object, own: Place, other: Place) -> bool:
    if "ipBlock" in peer:  # addresses outside of the pod network
        return other == API_SERVER
    namespaces = peer.get("namespaceSelector")
    if namespaces is None and other.namespace != own.namespace:
        return False
    if namespaces is not None and not selects(namespaces, {"kubernetes.io/metadata.name": other.namespace}):
        return False
    return selects(peer.get("podSelector", {}), other.labels)


def judged_by(objects: tuple[Object, ...]) -> dict[str, tuple[str, int]]:
    """Service and port of the reward model and the reference, from the configuration that the trainer gets."""
    (volume,) = [item for item in pod(objects, "CronJob", "trainer").spec["volumes"] if item["name"] == "config"]
    config = tomllib.loads(named(objects, "ConfigMap", volume["configMap"]["name"])["data"]["ppo.toml"])
    found = {}
    for judge in ("reward", "reference"):
        target = re.fullmatch(r"dns:///([a-z]+)\.rlhf\.svc\.cluster\.local:(\d+)", config[judge]["target"])
        assert target, config[judge]["target"]
        found[judge] = (target[1], int(target[2]))
    return found


def test_the_trainer_reaches_the_judges_that_its_configuration_names(objects: tuple[Object, ...]) -> None:
    trainer = Place(pod(objects, "CronJob", "trainer").labels)
    for judge, (service, port) in judged_by(objects).items():
        spec = named(objects, "Service", service)["spec"]
        assert port in [item["port"] for item in spec["ports"]]
        server = Place(pod(objects, "Deployment", service).labels)
        assert service == judge
        assert selects({"matchLabels": spec["selector"]}, server.labels)
        assert may_reach(objects, trainer, server, port)


def test_every_pod_reaches_the_cluster_dns(objects: tuple[Object, ...]) -> None:
    for name in ("reward", "reference", "policy"):
        assert may_reach(objects, Place(pod(objects, "Deployment", name).labels), CLUSTER_DNS, 53, "UDP")
    assert may_reach(objects, Place(pod(objects, "CronJob", "trainer").labels), CLUSTER_DNS, 53, "UDP")


@pytest.mark.parametrize("server", ["reward", "reference", "policy"])
def test_labelled_clients_of_any_namespace_reach_servers_and_others_do_not(server: str) -> None:
    target = place("Deployment", server)
    assert may_reach(overlay("prod"), CLIENT, target, GRPC)
    for source in (STRANGER, NEIGHBOUR, PROMETHEUS):
        assert not may_reach(overlay("prod"), source, target, GRPC)


def test_prometheus_reaches_the_metrics_of_training_runs() -> None:
    assert may_reach(overlay("prod"), PROMETHEUS, place("CronJob", "trainer"), METRICS)
    assert not may_reach(overlay("prod"), PROMETHEUS, place("CronJob", "trainer"), RENDEZVOUS)
    for source in (CLIENT, STRANGER, NEIGHBOUR, place("Deployment", "policy")):
        assert not may_reach(overlay("prod"), source, place("CronJob", "trainer"), METRICS)


@pytest.mark.parametrize("server", ["reward", "reference", "policy"])
def test_prometheus_reaches_metrics_and_nobody_else_does(server: str) -> None:
    target = place("Deployment", server)
    assert may_reach(overlay("prod"), PROMETHEUS, target, METRICS)
    for source in (CLIENT, STRANGER, NEIGHBOUR, place("CronJob", "trainer")):
        assert not may_reach(overlay("prod"), source, target, METRICS)
        assert not may_reach(overlay("prod"), source, target, HEALTH)


def test_an_implicit_reward_reaches_the_reference() -> None:
    assert may_reach(overlay("prod"), place("Deployment", "policy"), place("Deployment", "reference"), GRPC)


def test_a_launcher_in_the_cluster_reaches_the_api_server_and_the_policy() -> None:
    assert may_reach(overlay("prod"), LAUNCHER, API_SERVER, 443)
    assert may_reach(overlay("prod"), LAUNCHER, place("Deployment", "policy"), GRPC)
    assert not may_reach(overlay("prod"), LAUNCHER, place("Deployment", "reward"), GRPC)
    for kind, name in (("Deployment", "reward"), ("Deployment", "policy"), ("CronJob", "trainer")):
        assert not may_reach(overlay("prod"), place(kind, name), API_SERVER, 443)


def test_ranks_reach_each_other() -> None:
    trainer = place("CronJob", "trainer")
    for port in (RENDEZVOUS, 40123):
        assert may_reach(overlay("prod"), trainer, trainer, port)


def test_what_no_code_calls_is_closed() -> None:
    reward, reference, policy = (place("Deployment", name) for name in ("reward", "reference", "policy"))
    trainer = place("CronJob", "trainer")
    for source, target in (
        (trainer, policy),
        (reward, reference),
        (reference, reward),
        (policy, reward),
        (reward, trainer),
        (NEIGHBOUR, trainer),
        (trainer, STRANGER),
        (reward, STRANGER),
    ):
        assert not may_reach(overlay("prod"), source, target, GRPC)
