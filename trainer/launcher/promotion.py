"""Another checkpoint for the served policy: a rollout of the Deployment, and back when it goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from .canary import CanaryDied
from .cluster import STRATEGIC_PATCH, Cluster, Object
from .watching import versions

APPS = "apps/v1"
POLICY = "policy"
"""Name of the Deployment."""
CONTAINER = "server"
VARIABLE = "CHECKPOINT"
DIGEST = "rewardplane.dev/checkpoint-digest"
"""Annotation of the pod template, and so of its pods."""
PREVIOUS = "rewardplane.dev/previous-checkpoint"
"""Annotation of the Deployment: what `--rollback` goes back to."""

Canary = Callable[[str, str], None]
"""Takes a replica's HOST:PORT and the digest that it must serve; raises CanaryDied."""
Say = Callable[[str], None]


class PromotionFailed(Exception):
    """The checkpoint does not serve."""


@dataclass(frozen=True)
class Checkpoint:
    path: str
    """As the pods see it."""
    digest: str
    """SHA-256 of manifest.json."""


def served_checkpoint(cluster: Cluster) -> Checkpoint | None:
    """What the Deployment names, or None before the first promotion."""
    return _named(_deployment(cluster))


def previous_checkpoint(cluster: Cluster) -> Checkpoint | None:
    """What it named before, or None."""
    return _noted(_deployment(cluster))


def ready_replicas(cluster: Cluster, digest: str | None = None) -> list[str]:
    """HOST:PORT of the ready pods, or of those that serve `digest`."""
    deployment = _deployment(cluster)
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    found = cluster.get(cluster.path("v1", "pods"), labelSelector=selector)["items"]
    return [
        f"{pod['status']['podIP']}:{_port(deployment)}"
        for pod in found
        if _is_ready(pod) and digest in (None, pod["metadata"].get("annotations", {}).get(DIGEST))
    ]


def promote(cluster: Cluster, wanted: Checkpoint, canary: Canary | None, say: Say) -> None:
    """Rolls the policy over to `wanted`, and waits until all replicas serve it.

    Puts the old template back, and raises PromotionFailed, when the rollout stands still for longer than the
    Deployment's progressDeadlineSeconds or when `canary` dies on a new replica.
    """
    deployment = _deployment(cluster)
    before, noted = _named(deployment), _noted(deployment)
    generation = _name(cluster, wanted, previous=noted if wanted == before else before)
    try:
        _wait(cluster, wanted, generation, canary, say)
    except (CanaryDied, PromotionFailed) as error:
        _name(cluster, before, previous=noted)
        kept = before.path if before else "no checkpoint at all, as before the first promotion"
        raise PromotionFailed(f"{error}. The Deployment names {kept} again") from error


def _wait(cluster: Cluster, wanted: Checkpoint, generation: int, canary: Canary | None, say: Say) -> None:
    """Until the rollout of this generation is complete. Raises CanaryDied and PromotionFailed."""
    checked = canary is None
    said = ""
    for deployment in versions(cluster, APPS, "deployments", POLICY):
        if deployment is None:
            raise PromotionFailed(f"the Deployment {POLICY} was deleted")
        if deployment["metadata"]["generation"] != generation and not _names(deployment, wanted):
            raise PromotionFailed("somebody else has changed the Deployment")
        status = deployment.get("status", {})
        if status.get("observedGeneration", 0) < generation:
            continue  # what it says is about the template before
        if canary and not checked:
            for address in ready_replicas(cluster, wanted.digest)[:1]:
                canary(address, wanted.digest)
                say(f"the new replica at {address} scores as it should")
                checked = True
        if (now := _progress(deployment)) != said:
            say(said := now)
        if stuck := _stuck(deployment):
            raise PromotionFailed(stuck)
        if checked and _complete(deployment):
            return


def _name(cluster: Cluster, wanted: Checkpoint | None, previous: Checkpoint | None) -> int:
    """Writes a checkpoint into the pod template, and gives the generation that this makes."""
    variable = {"name": VARIABLE, "value": wanted.path} if wanted else {"name": VARIABLE, "$patch": "delete"}
    template = {
        "metadata": {"annotations": {DIGEST: (wanted.digest or None) if wanted else None}},
        "spec": {"containers": [{"name": CONTAINER, "env": [variable]}]},
    }
    noted = json.dumps(asdict(previous)) if previous else None
    body: Object = {"metadata": {"annotations": {PREVIOUS: noted}}, "spec": {"template": template}}
    path = cluster.path(APPS, "deployments", POLICY)
    reply = cluster.request("PATCH", path, body=body, content_type=STRATEGIC_PATCH)
    return int(reply.content["metadata"]["generation"])


def _deployment(cluster: Cluster) -> Object:
    return cluster.get(cluster.path(APPS, "deployments", POLICY))


def _container(deployment: Object) -> Object:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next(dict(item) for item in containers if item["name"] == CONTAINER)


def _named(deployment: Object) -> Checkpoint | None:
    values = {item["name"]: item.get("value", "") for item in _container(deployment).get("env", [])}
    annotations = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    return Checkpoint(values[VARIABLE], annotations.get(DIGEST, "")) if VARIABLE in values else None


def _noted(deployment: Object) -> Checkpoint | None:
    noted = (deployment["metadata"].get("annotations") or {}).get(PREVIOUS)
    return Checkpoint(**json.loads(noted)) if noted else None


def _names(deployment: Object, wanted: Checkpoint) -> bool:
    return _named(deployment) == wanted


def _port(deployment: Object) -> int:
    ports = {item["name"]: item["containerPort"] for item in _container(deployment)["ports"]}
    return int(ports["grpc"])


def _is_ready(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def _progress(deployment: Object) -> str:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    return (
        f"{status.get('updatedReplicas', 0)} of {wanted} replicas are new, {status.get('readyReplicas', 0)} are ready"
    )


def _stuck(deployment: Object) -> str:
    """Why the rollout has stopped, or ""; a Deployment does not go back by itself."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return f"{condition['reason']}: {condition['message']}"
    return ""


def _complete(deployment: Object) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {wanted}
