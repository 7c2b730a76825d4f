"""A real Prometheus on loopback, with the labels that a cluster gives, and what it is asked over HTTP."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rules import groups, tool

SHORTER = {
    "1m": "4s", "2m": "2s", "5m": "10s", "10m": "10s", "15m": "15s", "30m": "15s", "45m": "15s",
    "1h": "30s", "2h": "30s", "6h": "5m", "1d": "1m",
}  # fmt: skip
"""Windows of the rules, and what a test waits for instead."""
STALLED_S, OUTAGE_S = 12, 3
"""Instead of half an hour without an update, and of 60 s of outage."""


@dataclass(frozen=True)
class Target:
    job: str
    port: int
    labels: Mapping[str, str]


class Prometheus:
    def __init__(self, url: str) -> None:
        self.url = url
        self.started_s = time.time()

    def _get(self, path: str, **parameters: object) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def series_over_time(self, query: str) -> int:
        """How many series of the query have had a finite value since Prometheus started."""
        data = self._get("query_range", query=query, start=self.started_s, end=time.time(), step=1)
        return sum(any(math.isfinite(float(value)) for _, value in series["values"]) for series in data["result"])

    def value(self, query: str) -> float | None:
        """Of the only series; None without one."""
        result = self._get("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire, with the component or the run that they are about."""
        alerts = [alert["labels"] for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"]
        return {
            (alert["alertname"], alert.get("app_kubernetes_io_component") or alert.get("run", "")) for alert in alerts
        }


def until(holds: Callable[[], object], what: str, timeout_s: float = 90.0) -> float:
    """Waits, and gives the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.25)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running_prometheus(folder: Path, targets: Sequence[Target]) -> Iterator[Prometheus]:
    """Scrapes and evaluates rules once a second; the rules are those of deploy/, with shorter windows."""
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [_shortened(group) for group in groups()]}))
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(_settings(targets)))
    url = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"), "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={url}",
        "--log.level=warn",
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until(lambda: _is_ready(f"http://{url}"), "Prometheus is ready")
        yield Prometheus(f"http://{url}")
    finally:
        process.terminate()
        process.wait(30)


def _settings(targets: Sequence[Target]) -> dict[str, Any]:
    jobs = sorted({target.job for target in targets})
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{target.port}"], "labels": {"namespace": "rlhf", **target.labels}}
                    for target in targets
                    if target.job == job
                ],
            }
            for job in jobs
        ],
    }


def _shortened(group: Mapping[str, Any]) -> dict[str, Any]:
    return {**group, "rules": [_shorter(rule) for rule in group["rules"]]}


def _shorter(rule: Mapping[str, Any]) -> dict[str, Any]:
    expression = re.sub(r"\[(\w+)\]", lambda match: f"[{SHORTER[match[1]]}]", rule["expr"])
    expression = re.sub(r"offset (\w+)", lambda match: f"offset {SHORTER[match[1]]}", expression)
    if rule.get("alert") == "RewardplaneTrainerStalled":
        expression = expression.replace("> 1800", f"> {STALLED_S}")
    if rule.get("alert") == "RewardplaneJudgeOutage":
        expression = expression.replace("> 60", f"> {OUTAGE_S}")
    return {**rule, "expr": expression} | ({"for": SHORTER[rule["for"]]} if "for" in rule else {})


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
