"""Training jobs: made from the template in the cluster, looked at, stopped, and gone on with."""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Sequence

from .cluster import MERGE_PATCH, ApiError, Cluster, Object
from .job_state import QUEUE_LABEL, State, state_of
from .watching import versions

BATCH = "batch/v1"
TEMPLATE = "trainer"
"""Name of the CronJob that holds the template, and of the component."""
CONTAINER = "trainer"
COMPONENT = "app.kubernetes.io/component"
SUBMISSION = "rewardplane.dev/submission"
"""Annotation: who made this Job. One that exists already may be ours, when the answer to our request was lost."""
OVERRIDES = "rewardplane.dev/overrides"
JOB_NAME = "batch.kubernetes.io/job-name"


class CannotDo(Exception):
    """A request that this job's state, or its cluster, does not allow; the message says what to do."""


def submit(cluster: Cluster, name: str, overrides: Sequence[str] = ()) -> tuple[Object, tuple[str, ...]]:
    """Makes the job `name`, and gives it with the server's warnings. A run of that name goes on from its newest state.

    overrides: KEY=VALUE of the trainer's settings. Raises CannotDo and ApiError.
    """
    job = _job(_template(cluster), name, overrides)
    try:
        reply = cluster.request("POST", cluster.path(BATCH, "jobs"), query={"fieldValidation": "Strict"}, body=job)
    except ApiError as error:
        if error.status != 409:
            raise
        return _adopt(cluster, name, job["metadata"]["annotations"][SUBMISSION]), ()
    if refused := [text for text in reply.warnings if "violate PodSecurity" in text]:
        # The Job was accepted, and the pods will not be: it would stay without a pod, and without an error, for ever.
        delete(cluster, name)
        raise CannotDo(f"the namespace does not admit the job's pods, so the job was removed again: {refused[0]}")
    return reply.content, reply.warnings


def _template(cluster: Cluster) -> Object:
    try:
        template: Object = cluster.get(cluster.path(BATCH, "cronjobs", TEMPLATE))["spec"]["jobTemplate"]
    except ApiError as error:
        if error.status != 404:
            raise
        raise CannotDo(
            f"namespace {cluster.namespace} has no CronJob {TEMPLATE}, which training jobs are made from: "
            "apply one of deploy/overlays first"
        ) from error
    return template


def _job(template: Object, name: str, overrides: Sequence[str]) -> Object:
    spec = copy.deepcopy(template["spec"])
    (container,) = [item for item in spec["template"]["spec"]["containers"] if item["name"] == CONTAINER]
    container["args"] = [*container.get("args", []), *(f"--set={override}" for override in overrides)]
    metadata = {
        "name": name,
        "labels": template.get("metadata", {}).get("labels", {}),
        "annotations": {SUBMISSION: uuid.uuid4().hex, OVERRIDES: json.dumps(list(overrides))},
    }
    return {"apiVersion": BATCH, "kind": "Job", "metadata": metadata, "spec": spec}


def _adopt(cluster: Cluster, name: str, submission: str) -> Object:
    job = get(cluster, name)
    if job["metadata"].get("annotations", {}).get(SUBMISSION) == submission:
        return job
    raise CannotDo(f"job {name} exists ({state_of(job).word}): `rewardplane job resume {name}`, or choose another name")


def get(cluster: Cluster, name: str) -> Object:
    """Raises CannotDo when there is none."""
    try:
        return cluster.get(cluster.path(BATCH, "jobs", name))
    except ApiError as error:
        if error.status != 404:
            raise
        raise CannotDo(
            f"there is no job {name}; `rewardplane job submit {name}` goes on with its run, if it had one"
        ) from error


def all_jobs(cluster: Cluster) -> list[Object]:
    """Newest first."""
    found = cluster.get(cluster.path(BATCH, "jobs"), labelSelector=f"{COMPONENT}={TEMPLATE}")["items"]
    return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]), reverse=True)


def pods(cluster: Cluster, name: str) -> list[Object]:
    """Oldest first."""
    found = cluster.get(cluster.path("v1", "pods"), labelSelector=f"{JOB_NAME}={name}")["items"]
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def complaints(cluster: Cluster, name: str) -> list[str]:
    """What the cluster's events say against the job: pods that may not be made, for example."""
    found = cluster.get(cluster.path("v1", "events"), fieldSelector=f"involvedObject.name={name}")["items"]
    return [f"{event['reason']}: {event['message']}" for event in found if event.get("type") == "Warning"]


def suspend(cluster: Cluster, name: str) -> State:
    """Ends the job's pods and keeps the job. Raises CannotDo."""
    job = get(cluster, name)
    state = state_of(job)
    if state.final:
        raise CannotDo(f"job {name} has ended: {state.word}")
    if QUEUE_LABEL in job["metadata"].get("labels", {}):
        raise CannotDo(f"job {name} belongs to Kueue, which would start it again: cancel it with --delete")
    return state_of(_set_suspend(cluster, name, True))


def delete(cluster: Cluster, name: str) -> None:
    """Removes the job, and comes back when its pods are gone too. States and checkpoints stay."""
    body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
    uid = get(cluster, name)["metadata"]["uid"]
    try:
        cluster.request("DELETE", cluster.path(BATCH, "jobs", name), body=body | {"preconditions": {"uid": uid}})
    except ApiError as error:
        if error.status != 404:  # gone by itself, or at a first try whose answer was lost
            raise
        return
    for version in versions(cluster, BATCH, "jobs", name):
        if version is None or version["metadata"]["uid"] != uid:
            return


def resume(cluster: Cluster, name: str) -> Object:
    """Goes on with a job that was cancelled or that failed, with the settings that it was submitted with."""
    job = get(cluster, name)
    state = state_of(job)
    if state.word == "suspended":
        return _set_suspend(cluster, name, False)
    if state.word == "failed":
        overrides = json.loads(job["metadata"].get("annotations", {}).get(OVERRIDES, "[]"))
        delete(cluster, name)
        return submit(cluster, name, overrides)[0]
    raise CannotDo(f"job {name} is {state.word}{': ' + state.why if state.why else ''}; there is nothing to resume")


def _set_suspend(cluster: Cluster, name: str, suspended: bool) -> Object:
    path = cluster.path(BATCH, "jobs", name)
    body = {"spec": {"suspend": suspended}}
    return cluster.request("PATCH", path, body=body, content_type=MERGE_PATCH).content
