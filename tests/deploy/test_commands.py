"""The commands and flags in the manifests are those of the real command line, and their times add up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import DEPLOY, Object, Pod, command_line, named, overlay, pod, pods, with_component
from rewardplane.services.__main__ import app as serve_app
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.health import ALIVE
from rewardplane.services.common.server import CONNECTION_GRACE_MS, SEND_S
from rewardplane.trainer.__main__ import app as train_app
from rewardplane.trainer.config import Section, load_config
from rewardplane.trainer.fetch import app as fetch_app
from rewardplane.trainer.judges import JudgeConfig
from rewardplane.trainer.launch.outcome import BAD_CONFIGURATION, PREEMPTED, TRY_AGAIN
from rewardplane.trainer.launcher.command import promote_app
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.reward.config import RewardConfig
from rewardplane.trainer.sft.config import SftConfig
from typer.main import get_command

from rewardplane.session import CHANNEL_OPTIONS

RUN_CONFIGS: dict[str, type[Section]] = {"sft": SftConfig, "reward": RewardConfig, "ppo": PpoRunConfig}
ROLES = ("reward", "reference", "policy")


def serve_flags(server: Pod) -> dict[str, Any]:
    """What the command line of `rewardplane serve` reads out of a pod's arguments. Fails on a flag it does not know."""
    program, command, *words = command_line(server.main)
    assert (program, command) == ("rewardplane", "serve")
    return dict(get_command(serve_app).make_context("rewardplane serve", words).params)


def config_of(server: Pod) -> ServerConfig:
    flags = serve_flags(server)
    return ServerConfig(**{name: flags[name] for name in ServerConfig.model_fields})


def servers(objects: tuple[Object, ...]) -> list[tuple[str, Pod]]:
    return [(role, pod(objects, "Deployment", role)) for role in ROLES]


def test_servers_get_flags_that_exist_and_values_that_are_allowed(objects: tuple[Object, ...]) -> None:
    for role, server in servers(objects):
        assert serve_flags(server)["role"].value == role
        config = config_of(server)
        assert config.host == "0.0.0.0"
        ports = {port["name"]: port["containerPort"] for port in server.main["ports"]}
        assert ports == {"grpc": config.port, "health": config.health_port, "metrics": config.metrics_port}


def test_an_upgrade_does_not_undo_a_promotion(objects: tuple[Object, ...]) -> None:
    """`kubectl apply` sets what a manifest names, and leaves alone what it does not."""
    container = pod(objects, "Deployment", "policy").main
    assert "CHECKPOINT" not in [item["name"] for item in container["env"]]
    assert "--model=$(CHECKPOINT)" in command_line(container)


def test_no_other_variable_is_left_open(objects: tuple[Object, ...]) -> None:
    for candidate in pods(objects):
        left = [word for container in candidate.containers for word in command_line(container) if "$(" in word]
        assert left == (["--model=$(CHECKPOINT)"] if candidate.name == "Deployment/policy" else [])


def test_probes_ask_the_health_port(objects: tuple[Object, ...]) -> None:
    for _, server in servers(objects):
        probes = {kind: server.main[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")}
        assert {probe["port"] for probe in probes.values()} == {config_of(server).health_port}
        assert probes["startup"]["service"] == probes["liveness"]["service"] == ALIVE
        assert probes["readiness"]["service"] != ALIVE


def test_the_startup_budget_is_20_minutes_and_a_rollout_waits_longer(objects: tuple[Object, ...]) -> None:
    for role, server in servers(objects):
        probe = server.main["startupProbe"]
        budget_s = probe["periodSeconds"] * probe["failureThreshold"]
        assert budget_s >= 1200
        assert named(objects, "Deployment", role)["spec"]["progressDeadlineSeconds"] > budget_s


def test_the_grace_period_covers_prestop_drain_and_10_seconds(objects: tuple[Object, ...]) -> None:
    for _, server in servers(objects):
        pre_stop_s = server.main["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain_s = config_of(server).drain_seconds + SEND_S
        assert server.spec["terminationGracePeriodSeconds"] >= pre_stop_s + drain_s + 10


def test_an_address_is_forgotten_before_its_server_stops(objects: tuple[Object, ...]) -> None:
    dns_ttl_s = 5  # of CoreDNS' kubernetes plugin
    between_resolutions_s = CHANNEL_OPTIONS["grpc.dns_min_time_between_resolutions_ms"] / 1000
    for _, server in servers(objects):
        assert server.main["lifecycle"]["preStop"]["sleep"]["seconds"] > between_resolutions_s + dns_ttl_s


def test_new_replicas_get_traffic_within_a_minute_and_calls_survive_it(objects: tuple[Object, ...]) -> None:
    longest_call_s = JudgeConfig(target="any").timeout_s
    for _, server in servers(objects):
        assert 30 <= config_of(server).max_connection_age_seconds <= 60
    assert longest_call_s <= CONNECTION_GRACE_MS / 1000


def test_a_rollout_never_has_fewer_replicas_except_where_gpus_are_counted() -> None:
    for name, expected in (("dev-cpu", (0, 1)), ("prod", (0, 1)), ("single-node-gpu", (1, 0))):
        for role in ROLES:
            update = named(overlay(name), "Deployment", role)["spec"]["strategy"]["rollingUpdate"]
            assert (update["maxUnavailable"], update["maxSurge"]) == expected


def test_gpu_overlays_compute_on_the_gpu() -> None:
    for name, device in (("dev-cpu", "cpu"), ("single-node-gpu", "cuda"), ("prod", "cuda")):
        assert {config_of(server).device for _, server in servers(overlay(name))} == {device}


def mounted(objects: tuple[Object, ...], candidate: Pod, folder: Path) -> None:
    """Writes the files of a pod's ConfigMaps where its volumes would put them, under `folder`."""
    places = {mount["name"]: mount["mountPath"] for mount in candidate.main["volumeMounts"]}
    for volume in candidate.spec["volumes"]:
        if "configMap" in volume:
            directory = folder / places[volume["name"]].removeprefix("/")
            directory.mkdir(parents=True)
            for name, content in named(objects, "ConfigMap", volume["configMap"]["name"])["data"].items():
                (directory / name).write_text(content)


def test_training_pods_get_flags_that_exist_and_settings_that_load(objects: tuple[Object, ...], tmp_path: Path) -> None:
    trainers = [candidate for candidate in pods(objects) if candidate.owner["kind"] in ("CronJob", "Job", "JobSet")]
    for number, candidate in enumerate(trainers):
        folder = tmp_path / str(number)
        mounted(objects, candidate, folder)
        for container in candidate.containers:
            words = command_line(container, {"JOB_NAME": "ppo-7"})
            if words[1] == "fetch":
                continue
            words = words[words.index("train") + 1 :]
            group = get_command(train_app)
            name, command, rest = group.resolve_command(group.make_context("train", [*words]), words)  # type: ignore[attr-defined]
            flags = command.make_context(name, rest).params
            settings = load_config(
                folder / str(flags["config"]).removeprefix("/"), RUN_CONFIGS[name], flags["overrides"] or ()
            )
            if isinstance(settings, PpoRunConfig):
                assert settings.output.directory == Path("/runs/ppo-7")
                assert settings.output.save_every  # else a pod that is started again would begin anew
                assert settings.device == ("cuda" if "nvidia.com/gpu" in container["resources"]["limits"] else "cpu")


def test_weights_are_fetched_to_where_they_are_read(tmp_path: Path) -> None:
    objects = with_component("fetch-weights", tmp_path)
    for candidate in pods(objects):
        fetched = set()
        for container in candidate.spec["initContainers"]:
            program, command, *words = command_line(container)
            assert (program, command) == ("rewardplane", "fetch")
            flags = get_command(fetch_app).make_context("rewardplane fetch", words).params
            assert re.fullmatch("[0-9a-f]{64}", flags["digest"])
            fetched.add(str(flags["directory"]))
            assert {"name": "models", "mountPath": "/models"} in container["volumeMounts"]
        given = str(command_line(candidate.main)) + str(named_settings(objects, candidate))
        assert fetched >= set(re.findall(r"/models/[\w/.]+", given)) - {"/models/data/prompts.jsonl"}
        if "/models/data/prompts.jsonl" in given:
            assert "--set=data.prompts=/runs/data/prompts.jsonl" in command_line(candidate.main)


def named_settings(objects: tuple[Object, ...], candidate: Pod) -> list[Object]:
    """The contents of the ConfigMaps that a pod mounts."""
    maps = [volume["configMap"]["name"] for volume in candidate.spec["volumes"] if "configMap" in volume]
    return [named(objects, "ConfigMap", name)["data"] for name in maps]


def test_exit_codes_are_those_of_the_pod_failure_policy(objects: tuple[Object, ...]) -> None:
    job = named(objects, "CronJob", "trainer")["spec"]["jobTemplate"]["spec"]
    names = [container["name"] for container in job["template"]["spec"]["containers"]]
    fail, ignore, count = job["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in (fail, ignore, count)] == ["FailJob", "Ignore", "Count"]
    assert fail["onExitCodes"]["values"] == [BAD_CONFIGURATION]
    assert count["onExitCodes"]["values"] == [TRY_AGAIN, PREEMPTED]
    assert [fail["onExitCodes"]["containerName"], count["onExitCodes"]["containerName"]] == names * 2
    assert [condition["type"] for condition in ignore["onPodConditions"]] == ["DisruptionTarget"]


def test_the_example_promotes_from_a_pod_that_may(tmp_path: Path) -> None:
    item = yaml.safe_load((DEPLOY / "examples" / "promote.yaml").read_text())
    example = Pod(item, item["spec"]["template"]["metadata"]["labels"], item["spec"]["template"]["spec"])
    program, command, *words = command_line(example.main)
    assert (program, command) == ("rewardplane", "promote")
    given = get_command(promote_app).make_context("rewardplane promote", words).params
    assert given["checkpoint"].startswith("/runs/")
    assert given["namespace"] == item["metadata"]["namespace"]
    assert example.spec["serviceAccountName"] == "launcher"
    assert named(overlay("prod"), "ServiceAccount", "launcher")
    assert example.labels == {"app.kubernetes.io/component": "launcher", "rewardplane.dev/client": "true"}


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("kustomization.yaml")), ids=lambda path: path.parent.name)
def test_every_file_beside_a_kustomization_is_used(path: Path) -> None:
    content = path.read_text()
    files = [p.relative_to(path.parent) for p in path.parent.rglob("*") if p.is_file() and p != path]
    assert not [file for file in files if str(file) not in content]
