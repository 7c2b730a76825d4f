"""The ranking page as deployed: its command runs, only a proxy reaches it, and one pod at a time writes."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from manifests import DEPLOY, OVERLAYS, Object, Pod, build, command_line, named, pod, with_component
from rewardplane.trainer.labelling.command import app
from rewardplane.trainer.labelling.items import Item, write_items
from test_network_policies import CLIENT, CLUSTER_DNS, NEIGHBOUR, Place, may_reach, place
from typer.main import get_command

PATIENCE_S = 60.0
PROXY = Place({"rewardplane.dev/ranking-proxy": "true"}, "ingress")


@pytest.fixture
def objects(tmp_path: Path) -> tuple[Object, ...]:
    return with_component("label", tmp_path)


@pytest.fixture
def page(objects: tuple[Object, ...]) -> Pod:
    return pod(objects, "Deployment", "label")


def flags(page: Pod) -> dict[str, object]:
    program, command, *words = command_line(page.main)
    assert (program, command) == ("rewardplane", "label")
    group = get_command(app)
    name, serve, rest = group.resolve_command(group.make_context("label", [*words]), words)  # type: ignore[attr-defined]
    assert name == "serve"
    return dict(serve.make_context(name, rest).params)


def test_flags_ports_and_mounts_fit_together(objects: tuple[Object, ...], page: Pod) -> None:
    given = flags(page)
    assert [port["containerPort"] for port in page.main["ports"]] == [given["port"]]
    assert (given["host"], str(given["directory"])) == ("0.0.0.0", "/rankings")
    assert {mount["mountPath"] for mount in page.main["volumeMounts"]} == {"/rankings", "/tmp"}
    assert not given["rankers"]  # links would end in the pod's log


def test_one_pod_at_a_time_writes(objects: tuple[Object, ...]) -> None:
    spec = named(objects, "Deployment", "label")["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    assert named(objects, "PersistentVolumeClaim", "rankings")["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_only_a_proxy_reaches_the_page_and_it_reaches_nobody(objects: tuple[Object, ...], page: Pod) -> None:
    own = Place(page.labels)
    assert may_reach(objects, PROXY, own, 8080)
    for source in (CLIENT, NEIGHBOUR, place("CronJob", "trainer")):
        assert not may_reach(objects, source, own, 8080)
    for target in (NEIGHBOUR, place("Deployment", "reward")):
        assert not may_reach(objects, own, target, 8500)
    assert may_reach(objects, own, CLUSTER_DNS, 53, "UDP")


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_is_meant_for_servers_leaves_the_page_alone(page: Pod, tmp_path: Path, name: str) -> None:
    """Also where the component comes first, and all others after it."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    kustomization = tmp_path / "deploy" / "overlays" / name / "kustomization.yaml"
    content = yaml.safe_load(kustomization.read_text())
    others = [*content["components"], "../../components/image-volume", "../../components/mtls"]
    content["components"] = ["../../components/label", *others]
    kustomization.write_text(yaml.safe_dump(content))
    found = pod(build(kustomization.parent), "Deployment", "label")
    assert command_line(found.main) == command_line(page.main)
    assert found.spec["volumes"] == page.spec["volumes"]
    assert found.main["resources"] == page.main["resources"]
    assert len(found.containers) == 2


def test_the_pod_waits_for_its_items_and_then_its_command_serves(page: Pod, tmp_path: Path) -> None:
    rankings = tmp_path / "rankings"
    rankings.mkdir()
    (waiting,) = page.spec["initContainers"]
    wait = subprocess.Popen([word.replace("/rankings", str(rankings)) for word in command_line(waiting)])
    time.sleep(0.2)
    assert wait.poll() is None
    write_items(rankings, [Item("q", "Question?", ("a", "b"))])
    assert wait.wait(PATIENCE_S) == 0

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # What the image's `rewardplane label` does, on files and a port of this machine.
    start = "import sys; from rewardplane.trainer.labelling.command import main; sys.exit(main(sys.argv[1:]))"
    changes = {"/rankings": str(rankings), "--host=0.0.0.0": "--host=127.0.0.1", "--port=8080": f"--port={port}"}
    words = [changes.get(word, word) for word in command_line(page.main)[2:]]
    server = subprocess.Popen([sys.executable, "-c", start, *words], stdout=subprocess.PIPE, text=True)
    try:
        path = page.main["readinessProbe"]["httpGet"]["path"]
        assert answers(f"http://127.0.0.1:{port}{path}") == 200
    finally:
        server.terminate()
    assert server.wait(PATIENCE_S) == 0
    assert server.stdout is not None
    tokens = json.loads((rankings / "access.json").read_text())
    assert tokens["owner"] not in server.stdout.read()


def answers(url: str) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return int(answer.status)
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline
            time.sleep(0.05)
