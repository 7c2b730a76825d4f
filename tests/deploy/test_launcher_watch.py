"""Following a job: watches that end, logs that break off, pods that are replaced."""

from __future__ import annotations

import io
import itertools
import threading
import time
from pathlib import Path

import pytest
from kube_cluster import KubeCluster, recorded_statuses
from rewardplane.trainer.launcher import jobs, live
from rewardplane.trainer.launcher.command import job
from rewardplane.trainer.launcher.logs import log_lines, progress_of
from rewardplane.trainer.launcher.watching import versions
from rewardplane.trainer.progress import RunLog
from rich.console import Console


def numbers_seen(kube: KubeCluster, window_s: int) -> tuple[list[int], threading.Thread]:
    """The values of an annotation that a watch of job ppo-1 sees, and the thread that watches until it is 9."""
    seen: list[int] = []

    def watch() -> None:
        for version in versions(kube.client(), "batch/v1", "jobs", "ppo-1", window_s):
            if version is not None:
                seen.append(int(version["metadata"]["annotations"].get("number", -1)))
            if seen and seen[-1] == 9:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return seen, thread


def count(kube: KubeCluster, numbers: range) -> None:
    for number in numbers:
        item = kube.job("ppo-1")
        item["metadata"]["annotations"]["number"] = str(number)
        kube.server.store.replace("jobs", "ppo-1", item)
        time.sleep(0.05)


@pytest.mark.parametrize("trouble", ["none", "forgotten", "cut", "silent end"])
def test_a_watch_comes_to_the_last_version_whatever_happens_to_it(kube: KubeCluster, trouble: str) -> None:
    jobs.submit(kube.client(), "ppo-1")
    seen, thread = numbers_seen(kube, window_s=1 if trouble == "silent end" else 20)
    count(kube, range(4))
    if trouble == "cut":
        kube.server.streams.cut.set()
        time.sleep(0.5)
        kube.server.streams.cut.clear()
    elif trouble == "forgotten":
        kube.server.streams.cut.set()
        kube.server.store.forget()
        time.sleep(0.5)
        kube.server.streams.cut.clear()
    elif trouble == "silent end":
        time.sleep(1.5)
    count(kube, range(4, 10))
    thread.join(10)
    assert seen[-1] == 9
    assert seen == sorted(seen)


def test_a_version_that_was_forgotten_between_list_and_watch_is_listed_again(kube: KubeCluster) -> None:
    jobs.submit(kube.client(), "ppo-1")

    def forget_before_the_watch(method: str, path: str) -> None:
        if "watch=1" in path and not forgot:
            forgot.append(path)
            kube.end("ppo-1", "Complete")
            kube.server.store.forget()

    forgot: list[str] = []
    kube.server.fault = forget_before_the_watch
    seen = list(itertools.islice(versions(kube.client(), "batch/v1", "jobs", "ppo-1"), 2))
    assert [version is not None and bool(version["status"]) for version in seen] == [False, True]


def test_an_object_that_is_not_there_is_none(kube: KubeCluster) -> None:
    assert next(versions(kube.client(), "batch/v1", "jobs", "nope")) is None


def test_every_line_of_a_log_comes_once_though_the_connection_breaks(kube: KubeCluster) -> None:
    jobs.submit(kube.client(), "ppo-1")
    kube.pod_of("ppo-1", "ppo-1-0-aaaaa")
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(log_lines(kube.client(), "ppo-1", follow=True)), daemon=True)
    reader.start()
    for second, text in enumerate("abc"):
        kube.log("ppo-1-0-aaaaa", *(f"{text}{number}" for number in range(3)), second=second)
        time.sleep(0.2)
        kube.server.streams.cut.set()
        time.sleep(0.2)
        kube.log("ppo-1-0-aaaaa", f"{text} while nobody listened", second=second)
        kube.server.streams.cut.clear()
        time.sleep(0.3)
    kube.end_pod("ppo-1-0-aaaaa", 0)
    kube.end("ppo-1", "Complete")
    reader.join(10)
    assert not reader.is_alive()
    assert lines == [f"{text}{end}" for text in "abc" for end in ("0", "1", "2", " while nobody listened")]


def test_the_log_goes_on_with_the_pod_that_replaces_the_first(kube: KubeCluster) -> None:
    jobs.submit(kube.client(), "ppo-1")
    kube.pod_of("ppo-1", "ppo-1-0-aaaaa", "Pending")  # its log cannot be read yet
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(log_lines(kube.client(), "ppo-1", follow=True)), daemon=True)
    reader.start()
    time.sleep(0.3)
    kube.log("ppo-1-0-aaaaa", "first")
    kube.end_pod("ppo-1-0-aaaaa", 75)
    time.sleep(1.5)
    kube.log("ppo-1-0-bbbbb", "second", second=9)
    kube.pod_of("ppo-1", "ppo-1-0-bbbbb")
    kube.end_pod("ppo-1-0-bbbbb", 0)
    kube.end("ppo-1", "Complete")
    reader.join(10)
    assert lines == ["first", "second"]


def test_the_line_of_a_trainer_is_understood() -> None:
    progress = progress_of("ppo 3/20  score 0.1234  kl_nats -0.5  entropy 2.1e-05  ended_ratio nan")
    assert progress is not None
    assert (progress.updates, progress.of) == (3, 20)
    assert progress.figures == {"score": "0.1234", "kl_nats": "-0.5", "entropy": "2.1e-05", "ended_ratio": "nan"}
    assert progress_of("/runs/ppo-1/checkpoints/policy-000020") is None


def test_the_line_that_is_understood_is_the_one_that_the_trainer_writes(tmp_path: Path) -> None:
    written = io.StringIO()
    with RunLog(tmp_path, 20, "ppo", console=Console(file=written, width=200)) as log:
        log.write(2, {"score": 0.125, "kl_nats": 1234.5}, show=["score", "kl_nats"])
    progress = progress_of(written.getvalue())
    assert progress is not None
    assert (progress.updates, progress.of, progress.figures) == (3, 20, {"score": "0.125", "kl_nats": "1,234"})


@pytest.mark.parametrize(("case", "word", "status"), [("job_success", "done", 0), ("job_fail_policy", "failed", 1)])
def test_following_a_job_ends_when_it_has_ended_and_says_how(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str], case: str, word: str, status: int
) -> None:
    kube.play("jobs", "ppo-1", recorded_statuses(case, "Job"), pause_s=0.3)
    kube.pod_of("ppo-1", "ppo-1-0-aaaaa")
    kube.log("ppo-1-0-aaaaa", "ppo 1/20  score 0.5", "a warning")
    kube.end_pod("ppo-1-0-aaaaa", 64 if status else 0)
    assert job([*kube.where, "submit", "ppo-1", "--follow"]) == status
    said = capsys.readouterr().out.splitlines()
    words = [line.split()[2] for line in said if line.startswith("ppo-1 is")]
    assert words[-1] == word
    assert words.index("ending") == len(words) - 2  # FailureTarget and SuccessCriteriaMet are not the end
    assert "ppo 1/20  score 0.5" in said
    assert "a warning" in said
    if status:
        assert "exit code 64" in next(line for line in said if line.startswith("ppo-1 is failed"))


def test_following_a_job_that_is_deleted_ends_with_1(kube: KubeCluster) -> None:
    jobs.submit(kube.client(), "ppo-1")
    threading.Timer(0.5, kube.server.store.remove, ("jobs", "ppo-1")).start()
    assert live.follow(kube.client(), "ppo-1", Console(file=io.StringIO())).word == "deleted"


def test_status_shows_pods_progress_and_what_the_events_complain_of(
    kube: KubeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.submit(kube.client(), "ppo-1")
    for name, code in (("ppo-1-0-aaaaa", 75), ("ppo-1-0-bbbbb", None)):
        kube.pod_of("ppo-1", name)
        kube.log(name, f"ppo 7/20  score 0.25  kl_nats {1.5 if code is None else 9.5}")
        if code is not None:
            kube.end_pod(name, code)
        kube.server.store.objects["pods", name]["metadata"]["creationTimestamp"] = (
            f"2026-11-22T00:00:0{name[-1] == 'b':d}Z"
        )
    event = {"kind": "Event", "metadata": {"name": "e"}, "involvedObject": {"name": "ppo-1"}, "type": "Warning"}
    kube.server.store.create("events", event | {"reason": "FailedCreate", "message": "violates PodSecurity"})
    assert job([*kube.where, "status", "ppo-1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for row in (
        ["state", "starting", "(no", "pod", "yet)"],
        ["updates", "7", "of", "20"],
        ["kl_nats", "1.5"],
        ["warning", "FailedCreate:", "violates", "PodSecurity"],
        ["ppo-1-0-aaaaa", "Failed", "75"],
        ["ppo-1-0-bbbbb", "Running"],
    ):
        assert row in rows
