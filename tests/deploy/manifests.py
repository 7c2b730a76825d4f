"""What `kubectl kustomize` makes of deploy/, and how to find things in it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = sorted(path.name for path in (DEPLOY / "overlays").iterdir())
COMPONENTS = sorted(path.name for path in (DEPLOY / "components").iterdir())
Object = dict[str, Any]


@cache
def build(directory: Path) -> tuple[Object, ...]:
    """The objects of a kustomization, as `kubectl apply -k` would send them."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; `kubectl kustomize` renders the manifests")
    done = subprocess.run([kubectl, "kustomize", str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower(), done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def overlay(name: str) -> tuple[Object, ...]:
    return build(DEPLOY / "overlays" / name)


def with_component(component: str, folder: Path) -> tuple[Object, ...]:
    """The base with one component."""
    up = Path(*[".."] * len(folder.resolve().parts[1:])) / DEPLOY.resolve().relative_to("/")
    content = {"resources": [f"{up}/base"], "components": [f"{up}/components/{component}"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return build(folder)


def of_kind(objects: tuple[Object, ...], *kinds: str) -> list[Object]:
    return [item for item in objects if item["kind"] in kinds]


def named(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


@dataclass(frozen=True)
class Pod:
    """A pod template, and the object that makes pods of it."""

    owner: Object
    labels: Mapping[str, str]
    spec: Object

    @property
    def name(self) -> str:
        return f"{self.owner['kind']}/{self.owner['metadata']['name']}"

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Object:
        (container,) = self.spec["containers"]
        return dict(container)


def pods(objects: tuple[Object, ...]) -> list[Pod]:
    return [
        Pod(item, template["metadata"]["labels"], template["spec"]) for item in objects for template in _templates(item)
    ]


def pod(objects: tuple[Object, ...], kind: str, name: str) -> Pod:
    (found,) = [pod for pod in pods(objects) if pod.name == f"{kind}/{name}"]
    return found


def _templates(item: Object) -> Iterator[Object]:
    spec = item.get("spec", {})
    match item["kind"]:
        case "Deployment" | "Job":
            yield spec["template"]
        case "CronJob":
            yield spec["jobTemplate"]["spec"]["template"]
        case "JobSet":
            yield from (job["template"]["spec"]["template"] for job in spec["replicatedJobs"])


def command_line(container: Object, env: Mapping[str, str] | None = None) -> list[str]:
    """Command and arguments, with $(NAME) replaced as the kubelet does."""
    values = {item["name"]: item.get("value", f"<{item['name']}>") for item in container.get("env", [])} | (env or {})
    words = [*container["command"], *container.get("args", [])]
    for name, value in values.items():
        words = [word.replace(f"$({name})", value) for word in words]
    return words


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_expression(item, labels) for item in selector.get("matchExpressions", []))


def _expression(item: Object, labels: Mapping[str, str]) -> bool:
    assert item["operator"] == "In", item  # the only operator in use
    return labels.get(item["key"]) in item["values"]
