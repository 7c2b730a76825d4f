"""`rewardplane job`: training jobs from the template that the overlay applied."""

from __future__ import annotations

import json
import threading
import time

import pytest
from kube_cluster import KubeCluster, recorded_statuses
from kube_rules import Refused
from rewardplane.trainer.launcher import jobs
from rewardplane.trainer.launcher.cluster import ApiError, Unreachable
from rewardplane.trainer.launcher.command import job
from rewardplane.trainer.launcher.job_state import state_of


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("job_success", ["starting", "running", "ending", "done"]),
        # FailureTarget is not the end: three more changes come before Failed.
        ("job_fail_policy", ["starting", "running", "ending", "ending", "ending", "failed"]),
        ("job_backoff_exceeded", None),
        ("job_deadline", None),
    ],
)
def test_only_complete_and_failed_are_the_end(case: str, words: list[str] | None) -> None:
    template = {"metadata": {}, "spec": {"parallelism": 2}}
    states = [state_of(template | {"status": status}) for status in recorded_statuses(case, "Job")]
    if words:
        assert [state.word for state in states] == words
    assert [state.final for state in states] == [False] * (len(states) - 1) + [True]
    reasons = {
        "job_fail_policy": "PodFailurePolicy",
        "job_backoff_exceeded": "BackoffLimitExceeded",
        "job_deadline": "DeadlineExceeded",
    }
    assert states[-1].why.startswith(reasons.get(case, ""))


def test_a_job_is_made_of_the_template_with_the_settings_that_were_given(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job([*kube.where, "submit", "ppo-1", "--set", "updates=7", "--set", "kl.coef=0.1"]) == 0
    made = kube.job("ppo-1")
    template = kube.server.store.get("cronjobs", "trainer")["spec"]["jobTemplate"]
    container = made["spec"]["template"]["spec"]["containers"][0]
    wanted = template["spec"]["template"]["spec"]["containers"][0]["args"]
    assert container["args"] == [*wanted, "--set=updates=7", "--set=kl.coef=0.1"]
    assert made["metadata"]["labels"] == template["metadata"]["labels"]
    assert {**made["spec"], "template": 0} == {**template["spec"], "template": 0}
    assert capsys.readouterr().out == "job ppo-1 is starting\n"


def test_an_answer_that_was_lost_does_not_make_a_second_job(kube: KubeCluster) -> None:
    lost: list[str] = []

    def lose_the_first_post(method: str, path: str) -> str | None:
        if method == "POST" and not lost:
            lost.append(path)
            return "lose"
        return None

    kube.server.fault = lose_the_first_post
    made, _ = jobs.submit(kube.client(), "ppo-1")
    assert [method for method, _ in kube.server.requests].count("POST") == 2
    assert made["metadata"]["uid"] == kube.job("ppo-1")["metadata"]["uid"]


def test_somebody_elses_job_of_the_name_is_left_alone(kube: KubeCluster) -> None:
    jobs.submit(kube.client(), "ppo-1")
    before = kube.job("ppo-1")
    with pytest.raises(jobs.CannotDo, match=r"job ppo-1 exists \(starting\)"):
        jobs.submit(kube.client(), "ppo-1")
    assert kube.job("ppo-1") == before


def test_a_job_whose_pods_the_namespace_will_not_admit_is_removed_and_explained(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    template = kube.server.store.get("cronjobs", "trainer")
    del template["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"]
    kube.server.store.replace("cronjobs", "trainer", template)
    assert job([*kube.where, "submit", "ppo-1"]) == 1
    assert 'violate PodSecurity "restricted:latest": runAsNonRoot != true' in capsys.readouterr().err
    assert ("jobs", "ppo-1") not in kube.server.store.objects


def test_without_a_template_the_command_says_what_to_apply(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.server.store.remove("cronjobs", "trainer")
    assert job([*kube.where, "submit", "ppo-1"]) == 1
    assert "apply one of deploy/overlays first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault",
    [
        Refused(429, "TooManyRequests", "slow down", retry_after_s=1),
        Refused(500, "InternalError", "etcd has no leader"),
        Refused(503, "ServiceUnavailable", "starting"),
        "reset",
    ],
    ids=str,
)
def test_a_server_in_trouble_is_asked_again(kube: KubeCluster, fault: Refused | str) -> None:
    left = [fault, fault]
    kube.server.fault = lambda method, path: left.pop() if left else None
    began_s = time.monotonic()
    assert jobs.all_jobs(kube.client()) == []
    assert not left
    if isinstance(fault, Refused) and fault.retry_after_s:
        assert time.monotonic() - began_s >= 2 * fault.retry_after_s


def test_a_server_that_stays_in_trouble_is_given_up(kube: KubeCluster) -> None:
    kube.server.fault = lambda method, path: "reset"
    with pytest.raises(Unreachable, match="does not answer"):
        jobs.all_jobs(kube.client(patience_s=1))


def test_what_is_forbidden_is_not_asked_again(kube: KubeCluster) -> None:
    kube.server.rules = []
    with pytest.raises(ApiError, match="cannot list resource"):
        jobs.all_jobs(kube.client())
    assert len(kube.server.requests) == 1


def test_a_token_that_expired_is_read_again_from_its_file(kube: KubeCluster) -> None:
    client = kube.client()
    kube.server.tokens = {"second-token"}
    with pytest.raises(ApiError, match="Unauthorized"):
        jobs.all_jobs(client)
    (kube.kubeconfig.parent / "token").write_text("second-token")
    assert jobs.all_jobs(client) == []


def test_jobs_are_listed_newest_first_with_their_state(kube: KubeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("ppo-1", "ppo-2")):
        jobs.submit(kube.client(), name)
        kube.server.store.objects["jobs", name]["metadata"]["creationTimestamp"] = f"2026-11-2{number}T00:00:00Z"
    kube.end("ppo-1", "Complete")
    assert job([*kube.where, "list"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["ppo-2", "starting"], ["ppo-1", "done"]]


def test_a_job_in_a_queue_is_said_to_be_queued(kube: KubeCluster) -> None:
    made, _ = jobs.submit(kube.client(), "ppo-1")
    made["spec"]["suspend"] = True  # Kueue's webhook
    kube.server.store.replace("jobs", "ppo-1", made)
    state = state_of(kube.job("ppo-1"))
    assert (state.word, state.why) == ("queued", "in queue training")


def without_queue(kube: KubeCluster) -> None:
    template = kube.server.store.get("cronjobs", "trainer")
    del template["spec"]["jobTemplate"]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    kube.server.store.replace("cronjobs", "trainer", template)


def test_a_job_is_cancelled_and_resumed(kube: KubeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    without_queue(kube)
    for words, suspended in ((["submit", "ppo-1"], None), (["cancel", "ppo-1"], True), (["resume", "ppo-1"], False)):
        assert job([*kube.where, *words]) == 0
        assert kube.job("ppo-1")["spec"].get("suspend") is suspended
    assert capsys.readouterr().out.splitlines()[-1] == "job ppo-1 is starting"


def test_a_job_of_a_queue_is_not_suspended_but_deleted(kube: KubeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert job([*kube.where, "submit", "ppo-1"]) == 0
    assert job([*kube.where, "cancel", "ppo-1"]) == 1
    assert "cancel it with --delete" in capsys.readouterr().err
    assert job([*kube.where, "cancel", "ppo-1", "--delete"]) == 0
    assert ("jobs", "ppo-1") not in kube.server.store.objects


def test_a_failed_job_is_made_again_with_its_settings_once_the_old_one_is_gone(kube: KubeCluster) -> None:
    jobs.submit(kube.client(), "ppo-1", ["updates=7"])
    old = kube.job("ppo-1")["metadata"]["uid"]
    kube.end("ppo-1", "Failed", "BackoffLimitExceeded")
    waited = threading.Event()

    def collect_slowly(resource: str, name: str) -> None:
        time.sleep(0.5)
        waited.set()
        kube.server.store.remove(resource, name)

    kube.server.on_delete = collect_slowly
    assert job([*kube.where, "resume", "ppo-1"]) == 0
    assert waited.is_set()
    new = kube.job("ppo-1")
    assert new["metadata"]["uid"] != old
    assert new["spec"]["template"]["spec"]["containers"][0]["args"][-1] == "--set=updates=7"
    assert json.loads(new["metadata"]["annotations"][jobs.OVERRIDES]) == ["updates=7"]


@pytest.mark.parametrize(("condition", "word"), [("Complete", "done"), ("", "starting")])
def test_there_is_nothing_to_resume_in_a_job_that_runs_or_is_done(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str], condition: str, word: str
) -> None:
    jobs.submit(kube.client(), "ppo-1")
    if condition:
        kube.end("ppo-1", condition)
    assert job([*kube.where, "resume", "ppo-1"]) == 1
    assert f"job ppo-1 is {word}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "logs", "cancel", "resume"])
def test_a_job_that_there_is_not_is_named(kube: KubeCluster, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert job([*kube.where, command, "nope"]) == 1
    assert "there is no job nope" in capsys.readouterr().err


def test_wrong_flags_end_with_2(kube: KubeCluster) -> None:
    assert job([*kube.where, "submit"]) == 2
    assert job([*kube.where, "list", "--folow"]) == 2
