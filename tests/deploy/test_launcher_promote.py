"""`rewardplane promote`: a checkpoint is served, or the one before is served again."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from kube_cluster import KubeCluster, recorded_statuses
from rewardplane.trainer.launcher.command import promote
from rewardplane.trainer.launcher.promotion import DIGEST, PREVIOUS, Checkpoint, served_checkpoint
from servers import Served

OLD, NEW = Checkpoint("/models/sft", "0" * 64), "/runs/ppo-1/checkpoints/policy-000007"
ROLLED_OUT = recorded_statuses("deploy_rollout_ok", "Deployment")
STUCK = recorded_statuses("deploy_rollout_stuck", "Deployment")
AFTER_STUCK = recorded_statuses("deploy_rollout_stuck", "Deployment", watch=1)


def deployment(kube: KubeCluster) -> Any:
    return kube.server.store.get("deployments", "policy")


def promoted(kube: KubeCluster, checkpoint: Checkpoint | None, port: int, replicas: int = 2) -> None:
    """Puts the Deployment where it was when a checkpoint had been promoted; its pods' gRPC port is `port`."""
    item = deployment(kube)
    item["spec"]["replicas"] = replicas
    template = item["spec"]["template"]
    container = template["spec"]["containers"][0]
    next(entry for entry in container["ports"] if entry["name"] == "grpc")["containerPort"] = port
    if checkpoint:
        container["env"].append({"name": "CHECKPOINT", "value": checkpoint.path})
        template["metadata"]["annotations"] = {DIGEST: checkpoint.digest}
    kube.server.store.replace("deployments", "policy", item)


def pod_of_policy(kube: KubeCluster, name: str, digest: str) -> None:
    labels = deployment(kube)["spec"]["selector"]["matchLabels"]
    kube.pod(name, labels, annotations={DIGEST: digest})


@pytest.fixture
def digest(policy_server: Served, policy_dir: Path) -> str:
    """Of the checkpoint that the real server on `port` serves."""
    return hashlib.sha256((policy_dir / "manifest.json").read_bytes()).hexdigest()


def port_of(server: Served) -> int:
    return server.server.port


def test_a_checkpoint_is_rolled_out_and_asked_for_scores(
    kube: KubeCluster, policy_server: Served, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    promoted(kube, OLD, port_of(policy_server))
    pod_of_policy(kube, "policy-new", digest)
    generation = deployment(kube)["metadata"]["generation"]
    kube.play("deployments", "policy", ROLLED_OUT, after=generation)
    assert promote([*kube.where, NEW, "--digest", digest]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"the new replica at 127.0.0.1:{port_of(policy_server)} scores as it should" in said
    assert said[-1] == f"the policy serves {NEW}, digest {digest}"
    assert served_checkpoint(kube.client()) == Checkpoint(NEW, digest)
    assert json.loads(deployment(kube)["metadata"]["annotations"][PREVIOUS]) == {"path": OLD.path, "digest": OLD.digest}
    # The statuses before the last one were no success: 1 of 2 new, an old one still there.
    assert deployment(kube)["status"]["replicas"] == deployment(kube)["status"]["updatedReplicas"] == 2


def test_a_rollout_that_stands_still_is_undone(
    kube: KubeCluster, digest: str, policy_server: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    promoted(kube, OLD, port_of(policy_server))
    before = deployment(kube)["spec"]
    kube.play("deployments", "policy", STUCK, after=deployment(kube)["metadata"]["generation"])
    assert promote([*kube.where, NEW, "--digest", digest]) == 1
    assert "ProgressDeadlineExceeded" in (said := capsys.readouterr().err)
    assert "The Deployment names /models/sft again" in said
    assert deployment(kube)["spec"] == before
    assert PREVIOUS not in deployment(kube)["metadata"].get("annotations", {})


def test_the_failure_of_the_generation_before_is_not_ours(
    kube: KubeCluster, policy_server: Served, digest: str
) -> None:
    """The first status after the change still says ProgressDeadlineExceeded, of the template before."""
    assert AFTER_STUCK[0]["observedGeneration"] < AFTER_STUCK[-1]["observedGeneration"]
    assert "ProgressDeadlineExceeded" in json.dumps(AFTER_STUCK[0])
    promoted(kube, OLD, port_of(policy_server))
    pod_of_policy(kube, "policy-new", digest)
    kube.play("deployments", "policy", AFTER_STUCK, after=deployment(kube)["metadata"]["generation"])
    assert promote([*kube.where, NEW, "--digest", digest]) == 0


def test_a_replica_with_other_weights_than_promised_is_undone(
    kube: KubeCluster, policy_server: Served, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    promised = "f" * 64
    promoted(kube, OLD, port_of(policy_server))
    before = deployment(kube)["spec"]
    pod_of_policy(kube, "policy-new", promised)
    kube.play("deployments", "policy", ROLLED_OUT, after=deployment(kube)["metadata"]["generation"])
    assert promote([*kube.where, NEW, "--digest", promised]) == 1
    assert f"serves {digest}, and {promised} was promoted" in capsys.readouterr().err
    assert deployment(kube)["spec"] == before


def test_the_first_promotion_that_fails_leaves_no_checkpoint(kube: KubeCluster, policy_server: Served) -> None:
    promoted(kube, None, port_of(policy_server))
    before = deployment(kube)["spec"]
    pod_of_policy(kube, "policy-new", "f" * 64)
    kube.play("deployments", "policy", ROLLED_OUT, after=deployment(kube)["metadata"]["generation"])
    assert promote([*kube.where, NEW, "--digest", "f" * 64]) == 1
    assert deployment(kube)["spec"]["template"]["spec"] == before["template"]["spec"]
    assert served_checkpoint(kube.client()) is None


def test_rollback_serves_the_checkpoint_before_and_a_second_one_goes_forward_again(
    kube: KubeCluster, policy_server: Served, digest: str
) -> None:
    promoted(kube, Checkpoint("/runs/ppo-0/checkpoints/policy-000007", digest), port_of(policy_server))
    pod_of_policy(kube, "policy-any", digest)
    for words, path in (
        ([NEW, "--digest", digest], NEW),
        (["--rollback"], "/runs/ppo-0/checkpoints/policy-000007"),
        (["--rollback"], NEW),
    ):
        kube.play("deployments", "policy", ROLLED_OUT, after=deployment(kube)["metadata"]["generation"], pause_s=0.02)
        assert promote([*kube.where, *words]) == 0
        assert served_checkpoint(kube.client()) == Checkpoint(path, digest)


def test_without_a_checkpoint_before_there_is_no_rollback(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert promote([*kube.where, "--rollback"]) == 1
    assert "no checkpoint was promoted before" in capsys.readouterr().err


def test_pods_that_cannot_be_reached_are_found_out_before_anything_is_changed(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = probe.getsockname()[1]
    promoted(kube, OLD, nobody)
    pod_of_policy(kube, "policy-old", OLD.digest)
    before = deployment(kube)
    assert promote([*kube.where, NEW, "--digest", "f" * 64]) == 1
    assert "--no-canary" in capsys.readouterr().err
    assert deployment(kube) == before


def test_the_digest_of_a_checkpoint_that_is_here_is_read_from_it(
    kube: KubeCluster, policy_server: Served, policy_dir: Path, digest: str
) -> None:
    promoted(kube, OLD, port_of(policy_server))
    pod_of_policy(kube, "policy-new", digest)
    kube.play("deployments", "policy", ROLLED_OUT, after=deployment(kube)["metadata"]["generation"], pause_s=0.02)
    assert promote([*kube.where, str(policy_dir)]) == 0
    assert served_checkpoint(kube.client()) == Checkpoint(str(policy_dir), digest)


def test_a_checkpoint_without_a_digest_is_not_promoted(kube: KubeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert promote([*kube.where, NEW]) == 1
    assert "give its SHA-256 as --digest" in capsys.readouterr().err
    assert promote([*kube.where]) == 2
    assert promote([*kube.where, NEW, "--rollback"]) == 2
