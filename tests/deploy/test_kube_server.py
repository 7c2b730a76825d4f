"""The tests' own API server answers as the recorded control plane did."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kube_server import USER, KubeServer, kube_server
from manifests import named, overlay

GOLDEN = Path(__file__).parent / "golden"
EVERYTHING = [
    {
        "apiGroups": ["", "batch", "apps"],
        "resources": ["jobs", "cronjobs", "deployments", "pods", "events"],
        "verbs": ["create", "get", "list", "watch", "update", "patch", "delete"],
    }
]


def exchanges(case: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (GOLDEN / f"{case}.jsonl").read_text().splitlines()]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KubeServer]:
    with kube_server(EVERYTHING, tmp_path) as running:
        yield running


def send(
    server: KubeServer, exchange: dict[str, Any], token: str = "first-token", **changed: Any
) -> tuple[int, Any, dict[str, str]]:
    """Our answer to a recorded request."""
    request = exchange | changed
    with urllib3.PoolManager(ca_certs=str(server.kubeconfig().with_name("tls.crt"))) as pool:
        reply = pool.request(
            request["method"],
            f"https://127.0.0.1:{server._http.server_port}{request['path']}"
            + (f"?{request['query']}" if request["query"] else ""),
            body=None if request["request"] is None else json.dumps(request["request"]),
            headers={"Authorization": f"Bearer {token}", "Content-Type": request["ctype"]},
            retries=False,
        )
    text = reply.data.decode()
    lines = [json.loads(line) for line in text.splitlines()]
    return reply.status, lines[0] if len(lines) == 1 else lines, dict(reply.headers)


def same_refusal(ours: Any, theirs: Any) -> None:
    assert (ours["code"], ours["reason"]) == (theirs["code"], theirs["reason"])
    # The control plane adds an explanation of names, which ours leaves out.
    assert theirs["message"].replace("[", "").startswith(ours["message"].replace("[", "")), ours["message"]


REFUSALS = [
    exchange
    for case in ("errors", "job_success", "conflicts")
    for exchange in exchanges(case)
    if exchange["status"] in (400, 401, 404, 409, 422)
]


@pytest.mark.parametrize("exchange", REFUSALS, ids=lambda exchange: f"{exchange['status']}")
def test_it_refuses_what_was_refused_in_the_same_words(server: KubeServer, exchange: dict[str, Any]) -> None:
    if exchange["status"] == 409:
        first = exchange | {"request": exchanges("job_success")[0]["request"], "method": "POST"}
        if exchange["method"] == "POST":
            assert send(server, first)[0] == 201
        else:
            server.store.create("deployments", exchange["request"])
    token = "stolen" if exchange["status"] == 401 else "first-token"
    status, ours, _ = send(server, exchange, token)
    assert status == exchange["status"]
    same_refusal(ours, exchange["response"])


@pytest.mark.parametrize("exchange", [e for e in exchanges("errors") if "Warning" in e["headers"]])
def test_it_accepts_with_a_warning_what_was_accepted_with_one(server: KubeServer, exchange: dict[str, Any]) -> None:
    status, ours, headers = send(server, exchange)
    assert status == 201
    assert ours["metadata"]["generation"] == exchange["response"]["metadata"]["generation"] == 1
    theirs = exchange["headers"]["Warning"]
    assert headers["Warning"][:60] == theirs[:60]


def test_the_role_is_enforced_in_the_same_words(server: KubeServer) -> None:
    server.rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}]
    for exchange in exchanges("rbac_launcher")[:4]:
        status, ours, _ = send(server, exchange)
        assert status == exchange["status"]
        if status == 403:
            theirs = exchange["response"]
            theirs["message"] = theirs["message"].replace("system:serviceaccount:rlhf:rlhf-launcher", USER)
            same_refusal(ours, theirs)


def test_a_watch_from_a_forgotten_version_ends_with_one_error(server: KubeServer) -> None:
    (golden,) = [e for e in exchanges("errors") if "watch=1" in e["query"]]
    server.store.forget()
    status, ours, _ = send(server, golden)
    (theirs,) = golden["response"]
    assert status == golden["status"] == 200
    assert ours["type"] == theirs["type"] == "ERROR"
    assert (ours["object"]["code"], ours["object"]["reason"]) == (410, "Expired")


def test_a_job_is_made_suspended_resumed_and_deleted_with_the_same_generations(server: KubeServer) -> None:
    calls = [e for e in exchanges("job_suspend_resume") if e["method"] != "GET"]
    assert [e["method"] for e in calls] == ["POST", "PATCH", "PATCH", "DELETE"]
    versions = []
    for golden in calls:
        status, ours, _ = send(server, golden)
        theirs = golden["response"]
        assert status == golden["status"]
        assert ours["metadata"]["generation"] == theirs["metadata"]["generation"]
        assert {"uid", "resourceVersion", "creationTimestamp"} <= set(ours["metadata"])
        assert ("deletionTimestamp" in ours["metadata"]) == ("deletionTimestamp" in theirs["metadata"])
        versions.append(int(ours["metadata"]["resourceVersion"]))
    assert versions == sorted(set(versions))


def test_a_deletion_is_seen_as_deleted_and_never_as_failed(server: KubeServer) -> None:
    create, _, delete, watch, gone = exchanges("job_delete_while_running")
    send(server, create)
    since = server.store.version
    seen: list[str] = []

    def look() -> None:
        query = watch["query"].replace(watch["query"].split("resourceVersion=")[1].split("&")[0], str(since))
        _, events, _ = send(server, watch, query=query.replace("timeoutSeconds=10", "timeoutSeconds=1"))
        seen.extend(event["type"] for event in events)

    looking = threading.Thread(target=look)
    looking.start()
    assert send(server, delete)[0] == 200
    looking.join()
    assert seen[-1] == watch["response"][-1]["type"] == "DELETED"
    assert send(server, gone)[0] == gone["status"] == 404


def test_after_a_patch_the_status_is_still_that_of_the_generation_before(server: KubeServer) -> None:
    before, patch = exchanges("deploy_rollout_ok")[:2]
    server.store.create("deployments", before["response"])
    server.store.set_status("deployments", "policy", before["response"]["status"] | {"observedGeneration": 1})
    status, ours, _ = send(server, patch)
    theirs = patch["response"]
    assert status == 200
    assert theirs["metadata"]["generation"] - theirs["status"]["observedGeneration"] == 1
    assert ours["metadata"]["generation"] - ours["status"]["observedGeneration"] == 1
    annotations = ours["spec"]["template"]["metadata"]["annotations"]
    assert annotations["rlhf/checkpoint"] == theirs["spec"]["template"]["metadata"]["annotations"]["rlhf/checkpoint"]
    names = [[item["name"] for item in side["spec"]["template"]["spec"]["containers"]] for side in (ours, theirs)]
    assert names[0] == names[1]


def test_a_watch_ends_by_itself_without_a_word(server: KubeServer) -> None:
    server.store.create("jobs", exchanges("job_success")[0]["request"])
    began_s = time.monotonic()
    query = "watch=1&resourceVersion=1000&timeoutSeconds=1"
    status, event, _ = send(server, exchanges("rbac_launcher")[0], query=query)
    assert (status, event["type"]) == (200, "ADDED")
    assert 0.9 < time.monotonic() - began_s < 5


def test_the_deployments_of_the_overlay_are_accepted(server: KubeServer) -> None:
    for kind, resource in (("CronJob", "cronjobs"), ("Deployment", "deployments")):
        name = "trainer" if kind == "CronJob" else "policy"
        item = named(overlay("prod"), kind, name)
        group = item["apiVersion"]
        exchange = {"method": "POST", "path": f"/apis/{group}/namespaces/rlhf/{resource}", "ctype": "application/json"}
        status, _, headers = send(server, exchange | {"query": "fieldValidation=Strict", "request": item})
        assert status == 201
        assert "Warning" not in headers
