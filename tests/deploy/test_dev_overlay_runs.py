"""The dev-cpu overlay, run without a cluster: its commands, on its files, with its ports opened on loopback."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from manifests import Object, Pod, command_line, named, overlay, pod
from servers import Served, served
from test_commands import config_of, serve_flags

from rewardplane import Client
from rewardplane.__main__ import main

JOB = "ppo-1"


@dataclass(frozen=True)
class Node:
    """A directory that stands for the file systems of all pods."""

    root: Path
    objects: tuple[Object, ...]

    def place(self, text: str) -> str:
        """`text` with the paths of the pods turned into paths below the directory."""
        for mount in ("/models", "/runs", "/etc/rewardplane"):
            text = text.replace(mount, f"{self.root}{mount}")
        return text

    def mount(self, candidate: Pod) -> None:
        (volume,) = [item for item in candidate.spec["volumes"] if "configMap" in item]
        directory = Path(self.place("/etc/rewardplane"))
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in named(self.objects, "ConfigMap", volume["configMap"]["name"])["data"].items():
            (directory / name).write_text(self.place(content))

    def run(self, container: Object) -> int:
        """What the container's command ends with."""
        program, *words = command_line(container, {"JOB_NAME": JOB})
        assert program == "rewardplane"
        return main([self.place(word) for word in words])


@contextmanager
def sigterm_kept() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """With the models that the overlay's Job makes."""
    node = Node(tmp_path_factory.mktemp("node"), overlay("dev-cpu"))
    make_models = pod(node.objects, "Job", "make-models")
    node.mount(make_models)
    for container in make_models.containers:
        assert node.run(container) == 0
    return node


@contextmanager
def deployed(node: Node, role: str, checkpoint: str = "/models/sft") -> Iterator[Served]:
    """The Deployment's server, with all of its flags but the numbers of its ports; `checkpoint` is what is promoted."""
    server = pod(node.objects, "Deployment", role)
    settings = config_of(server).model_dump(exclude={"host", "port", "metrics_port", "health_port", "threads"})
    model = Path(node.place(str(serve_flags(server)["model"]).replace("$(CHECKPOINT)", checkpoint)))
    with served(role, model, health_port=0, **settings) as running:
        yield running


@pytest.mark.timeout(300)
def test_the_overlay_makes_models_serves_them_trains_and_serves_what_it_trained(node: Node) -> None:
    trainer = pod(node.objects, "CronJob", "trainer")
    node.mount(trainer)
    settings = Path(node.place("/etc/rewardplane/ppo.toml"))
    with ExitStack() as stack:
        for role in ("reward", "reference"):
            target = stack.enter_context(deployed(node, role)).target
            address = f"dns:///{role}.rlhf.svc.cluster.local:8500"
            assert address in settings.read_text()
            settings.write_text(settings.read_text().replace(address, target))
            with Client(target) as client:
                assert client.info().model_version.model_name == {"reward": "reward", "reference": "sft"}[role]
        stack.enter_context(sigterm_kept())
        assert node.run(trainer.main) == 0
    run = Path(node.place(f"/runs/{JOB}"))
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 20
    checkpoints = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert checkpoints == ["policy-000010", "policy-000020"]
    promoted = f"/runs/{JOB}/checkpoints/{checkpoints[-1]}"
    with deployed(node, "policy", promoted) as policy, Client(policy.target) as client:
        assert client.info().model_version.policy_version == 20
        assert len(client.generate(["How was the film?"], max_answer_tokens=4).answers) == 1


@pytest.mark.parametrize("role", ["reward", "reference", "policy"])
def test_probes_ask_for_names_that_the_deployed_server_registers(node: Node, role: str) -> None:
    container = pod(node.objects, "Deployment", role).main
    names = {container[f"{kind}Probe"]["grpc"]["service"] for kind in ("startup", "liveness", "readiness")}
    assert len(names) == 2
    with deployed(node, role) as running:
        with grpc.insecure_channel(f"127.0.0.1:{running.server.health_port}") as channel:
            for name in names:
                reply = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(service=name), timeout=10
                )
                assert reply.status == health_pb2.HealthCheckResponse.SERVING, name
        assert any(name == "rewardplane_queue_tokens" for name, _ in running.metrics())


def test_every_metric_of_the_autoscalers_is_exported(node: Node) -> None:
    prod = overlay("prod")
    rules = json.dumps([item["spec"] for item in prod if item["kind"] == "ScaledObject"])
    with deployed(node, "reward") as running:
        exported = {name for name, _ in running.metrics()}
    wanted = set(re.findall(r"(?:rewardplane|grpc_server)_[a-z_]+", rules))
    assert wanted
    # A counter with labels has no sample before its first event.
    described = {family for family in wanted if family in exported or family == "rewardplane_refused_total"}
    assert described == wanted


def test_a_health_port_that_is_taken_is_named(node: Node) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = served("reward", Path(node.place("/models/reward")), health_port=taken.getsockname()[1])
        with pytest.raises(OSError, match="cannot answer health checks"):
            server.__enter__()
