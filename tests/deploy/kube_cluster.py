"""A cluster that an overlay was applied to, and what its controllers and kubelets would do."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kube_server import KubeServer, kube_server
from manifests import Object, named, of_kind
from rewardplane.trainer.launcher.cluster import Cluster

GOLDEN = Path(__file__).parent / "golden"
NOW = "2026-11-22T11:03:01Z"


def recorded_statuses(case: str, kind: str, watch: int = 0) -> list[Object]:
    """The statuses that one watch of a recording saw, in order."""
    exchanges = [json.loads(line) for line in (GOLDEN / f"{case}.jsonl").read_text().splitlines()]
    events = [exchange["response"] for exchange in exchanges if "watch=1" in exchange["query"]][watch]
    return [
        event["object"]["status"] for event in events if event["object"]["kind"] == kind and event["type"] == "MODIFIED"
    ]


@dataclass
class KubeCluster:
    server: KubeServer
    kubeconfig: Path

    def client(self, **settings: Any) -> Cluster:
        return Cluster("rlhf", kubeconfig=str(self.kubeconfig), **settings)

    @property
    def where(self) -> list[str]:
        """The flags that lead a command here."""
        return ["--kubeconfig", str(self.kubeconfig)]

    def job(self, name: str) -> Object:
        return self.server.store.get("jobs", name)

    def end(self, name: str, condition: str, reason: str = "") -> None:
        self.server.store.set_status(
            "jobs", name, {"conditions": [{"type": condition, "status": "True", "reason": reason}]}
        )

    def pod(self, name: str, labels: dict[str, str], phase: str = "Running", **metadata: Any) -> None:
        ready = {"type": "Ready", "status": "True" if phase == "Running" else "False"}
        item = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": labels, **metadata}, "spec": {}}
        self.server.store.create("pods", item)
        self.server.store.set_status("pods", name, {"phase": phase, "podIP": "127.0.0.1", "conditions": [ready]})

    def pod_of(self, job: str, name: str, phase: str = "Running") -> None:
        self.pod(name, {"batch.kubernetes.io/job-name": job}, phase)

    def end_pod(self, name: str, exit_code: int) -> None:
        ended = [{"name": "trainer", "state": {"terminated": {"exitCode": exit_code}}}]
        phase = "Failed" if exit_code else "Succeeded"
        self.server.store.set_status("pods", name, {"phase": phase, "containerStatuses": ended})

    def log(self, pod: str, *lines: str, second: int = 1) -> None:
        """Lines of one second, a nanosecond apart."""
        kept = self.server.store.logs.setdefault(pod, [])
        for line in lines:
            kept.append((f"2026-11-22T11:03:{second:02}.{len(kept):09}Z", line))

    def play(
        self, resource: str, name: str, statuses: Sequence[Object], *, pause_s: float = 0.1, after: int = 0
    ) -> threading.Thread:
        """Gives the object these statuses one after the other, once its generation is greater than `after`.

        observedGeneration is what it was in the recording, counted from the last one there.
        """
        newest = max((status.get("observedGeneration", 0) for status in statuses), default=0)

        def run() -> None:
            while (resource, name) not in self.server.store.objects or self._generation(resource, name) <= after:
                time.sleep(0.01)
            generation = self._generation(resource, name)
            for recorded in statuses:
                status = copy.deepcopy(recorded)
                if "observedGeneration" in status:
                    status["observedGeneration"] += generation - newest
                time.sleep(pause_s)
                self.server.store.set_status(resource, name, status)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _generation(self, resource: str, name: str) -> int:
        return int(self.server.store.get(resource, name)["metadata"]["generation"])


@contextmanager
def applied(objects: tuple[Object, ...], folder: Path) -> Iterator[KubeCluster]:
    (role,) = of_kind(objects, "Role")
    with kube_server(copy.deepcopy(role["rules"]), folder) as server:
        server.store.create("cronjobs", named(objects, "CronJob", "trainer"))
        server.store.create("deployments", named(objects, "Deployment", "policy"))
        yield KubeCluster(server, server.kubeconfig())
