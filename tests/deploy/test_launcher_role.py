"""The shipped Role lets the launcher do all it does, and has nothing that it does not need."""

from __future__ import annotations

import contextlib
import copy
import subprocess
import sys

import pytest
from kube_cluster import KubeCluster, recorded_statuses
from manifests import named, of_kind, overlay
from rewardplane.trainer.launcher.command import job, promote

(ROLE,) = of_kind(overlay("prod"), "Role")
RIGHTS = [
    pytest.param(number, verb, id=f"{verb} {rule['resources'][0]}")
    for number, rule in enumerate(ROLE["rules"])
    for verb in rule["verbs"]
]


def everything(kube: KubeCluster) -> list[str]:
    """Every command of the launcher; gives those that did not do what they should."""
    store = kube.server.store
    labels = named(overlay("prod"), "CronJob", "trainer")["spec"]["jobTemplate"]["metadata"]["labels"]
    failed: list[str] = []

    def do(*words: str) -> None:
        status = promote([*kube.where, *words[1:]]) if words[0] == "promote" else job([*kube.where, *words])
        if status != 0:
            failed.append(" ".join(words))

    do("submit", "ppo-1")
    with contextlib.suppress(Exception):
        item = store.get("jobs", "ppo-1")
        item["metadata"]["labels"] = {k: v for k, v in labels.items() if "kueue" not in k}
        store.replace("jobs", "ppo-1", item)
        kube.pod_of("ppo-1", "ppo-1-0-aaaaa")
        kube.end_pod("ppo-1-0-aaaaa", 0)
    do("list")
    do("cancel", "ppo-1")
    do("resume", "ppo-1")
    with contextlib.suppress(Exception):
        kube.end("ppo-1", "Failed", "BackoffLimitExceeded")
    do("resume", "ppo-1")
    with contextlib.suppress(Exception):
        kube.end("ppo-1", "Complete")
    do("status", "ppo-1", "--follow")
    do("status", "ppo-1")
    do("logs", "ppo-1")
    do("cancel", "ppo-1", "--delete")
    store.replace("deployments", "policy", _of_two(store.get("deployments", "policy")))
    kube.play("deployments", "policy", recorded_statuses("deploy_rollout_ok", "Deployment"), pause_s=0.01, after=2)
    do("promote", "/runs/ppo-1/checkpoints/policy-000007", "--digest", "f" * 64, "--no-canary")
    return failed


def _of_two(item: dict[str, object]) -> dict[str, object]:
    item["spec"]["replicas"] = 2  # type: ignore[index]  # as in the recording
    return item


def test_the_role_is_enough_for_every_command(kube: KubeCluster) -> None:
    assert everything(kube) == []


@pytest.mark.parametrize(("rule", "verb"), RIGHTS)
def test_without_any_of_its_rights_some_command_fails(kube: KubeCluster, rule: int, verb: str) -> None:
    rules = copy.deepcopy(ROLE["rules"])
    rules[rule]["verbs"].remove(verb)
    kube.server.rules = rules
    assert everything(kube) != []


def test_the_role_names_what_it_may_change() -> None:
    for rule in ROLE["rules"]:
        assert "*" not in [*rule["resources"], *rule["verbs"], *rule["apiGroups"]]
        if "deployments" in rule["resources"]:
            assert rule["resourceNames"] == ["policy"]


def test_the_launcher_imports_no_torch() -> None:
    code = (
        "import sys; from rewardplane.trainer.launcher.command import job\n"
        "assert job(['--help']) == 0\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
