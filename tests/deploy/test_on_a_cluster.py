"""The dev-cpu overlay on a real cluster: KUBECONFIG_E2E leads to one whose nodes have the image rewardplane:cpu.

Makes and deletes the namespace rlhf. `pytest -m cluster tests/deploy`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from manifests import DEPLOY
from rewardplane.trainer.launcher.command import job

from rewardplane import Client

KUBECONFIG = os.environ.get("KUBECONFIG_E2E", "")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not KUBECONFIG, reason="KUBECONFIG_E2E is not set: no cluster to try this on"),
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]


def kubectl(*words: str, stdin: str | None = None) -> str:
    command = ["kubectl", "--kubeconfig", KUBECONFIG, *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def applied() -> Iterator[None]:
    kubectl("apply", "-k", str(DEPLOY / "overlays" / "dev-cpu"))
    try:
        kubectl("-n", "rlhf", "wait", "--for=condition=complete", "job/make-models", "--timeout=15m")
        kubectl("-n", "rlhf", "delete", "pods", "-l", "rewardplane.dev/server")  # those that wait before a new try
        for name in ("reward", "reference"):
            kubectl("-n", "rlhf", "rollout", "status", f"deployment/{name}", "--timeout=10m")
        yield
    finally:
        kubectl("delete", "namespace", "rlhf", "--wait=false")


@contextmanager
def forwarded(deployment: str, port: int) -> Iterator[str]:
    words = [
        "kubectl",
        "--kubeconfig",
        KUBECONFIG,
        "-n",
        "rlhf",
        "port-forward",
        f"deployment/{deployment}",
        f"{port}:8500",
    ]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        try:
            time.sleep(2)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


def promote(*arguments: str) -> None:
    """From a pod, as the example does."""
    example = (DEPLOY / "examples" / "promote.yaml").read_text()
    text = re.sub(r"args: \[.*\]", f"args: [{', '.join(arguments)}]", example)
    name = kubectl("create", "-o", "name", "-f", "-", stdin=text).strip()
    kubectl("-n", "rlhf", "wait", "--for=condition=complete", name, "--timeout=10m")


def served_version() -> int:
    with forwarded("policy", 18503) as target, Client(target) as client:
        return client.info().model_version.policy_version


def test_from_nothing_to_a_score_a_run_a_promotion_and_back(applied: None) -> None:
    with forwarded("reward", 18501) as target, Client(target) as client:
        assert len(client.score([("How was the film?", "It was good.")])) == 1
    assert job(["--kubeconfig", KUBECONFIG, "submit", "e2e-1", "--follow"]) == 0
    promote("/runs/e2e-1/checkpoints/policy-000010")
    assert served_version() == 10
    promote("/runs/e2e-1/checkpoints/policy-000020")
    assert served_version() == 20
    promote("--rollback")
    assert served_version() == 10


def test_a_job_with_wrong_settings_fails_at_once(applied: None) -> None:
    assert job(["--kubeconfig", KUBECONFIG, "submit", "e2e-wrong", "--set", "updates=0", "--follow"]) == 1
    conditions = kubectl("-n", "rlhf", "get", "job", "e2e-wrong", "-o", "jsonpath={.status.conditions[*].reason}")
    assert "PodFailurePolicy" in conditions


def test_the_manifests_are_accepted_in_full(applied: None) -> None:
    """`kubectl diff` finds nothing that the server dropped."""
    words = ["kubectl", "--kubeconfig", KUBECONFIG, "diff", "-k", str(DEPLOY / "overlays" / "dev-cpu")]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
