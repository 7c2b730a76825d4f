"""The runbook has an entry for each alert, links lead somewhere, and the image is built as it should be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifests import DEPLOY, OVERLAYS, of_kind, overlay, pods
from rewardplane.trainer.launcher.command import job_app, promote_app
from typer.main import get_command

ROOT = DEPLOY.parent
README = (DEPLOY / "README.md").read_text()
DOCKERFILE = (DEPLOY / "docker" / "Dockerfile").read_text()


def test_every_alert_has_its_place_in_the_runbook() -> None:
    headings = re.findall(r"^### (Rewardplane.+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)
    groups = [group for rule in of_kind(overlay("prod"), "PrometheusRule") for group in rule["spec"]["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert sorted(alert["alert"] for alert in alerts) == sorted(headings)
    for alert in alerts:
        assert alert["annotations"]["runbook_url"] == f"docs/monitoring.md#{alert['alert'].lower()}"


def test_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert targets
    assert not [target for target in targets if not (DEPLOY / target).exists()]


def test_the_readme_names_what_there_is() -> None:
    for folder in ("components", "overlays"):
        line = next(line for line in README.splitlines() if line.startswith(f"{folder}/"))
        assert sorted(line.split()[1:]) == sorted(path.name for path in (DEPLOY / folder).iterdir())
    for name in re.findall(r"deploy/overlays/([\w-]+)", README):
        assert name in OVERLAYS


def test_every_command_and_flag_of_the_launcher_is_documented() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    group = get_command(job_app)
    commands = dict(group.commands)  # type: ignore[attr-defined]
    assert len(commands) == 6
    assert not [name for name in commands if f"`rewardplane job {name}" not in page]
    parameters = [p for command in (*commands.values(), group, get_command(promote_app)) for p in command.params]
    flags = {option for parameter in parameters for option in parameter.opts if option.startswith("--")} - {"--help"}
    assert {"--follow", "--set", "--digest", "--rollback"} <= flags
    assert not [flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", page)]


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, by its name."""
    found: dict[str, list[str]] = {}
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    for line in joined.splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[match[2]] = [line]
        elif found and line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def test_images_are_built_in_stages_from_one_pinned_base() -> None:
    assert re.search(r"^ARG PYTHON=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    bases = {lines[0].split()[1] for lines in stages().values()}
    assert bases <= {"${PYTHON}", *stages()}
    assert {"cpu", "gpu"} <= set(stages())
    for target in ("cpu", "gpu"):
        assert stages()[target][0] == f"FROM runtime AS {target}"
        copied = [line for line in stages()[target] if line.startswith("COPY")]
        assert copied == [f"COPY --from=build-{target} /opt/rewardplane /opt/rewardplane"]


def test_the_image_runs_as_the_user_of_the_pods_and_gets_signals() -> None:
    runtime = stages()["runtime"]
    assert "USER 10001:10001" in runtime
    assert 'ENTRYPOINT ["rewardplane"]' in runtime  # a shell in between would swallow SIGTERM
    users = {pod.spec["securityContext"]["runAsUser"] for name in OVERLAYS for pod in pods(overlay(name))}
    assert users == {10001}
    assert "HEALTHCHECK" not in DOCKERFILE


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_every_package_is_pinned_with_hashes(target: str) -> None:
    lines = (DEPLOY / "docker" / f"requirements-{target}.txt").read_text().splitlines()
    packages = [line for line in lines if re.match(r"[a-z0-9]", line)]
    assert len(packages) > 50
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+ \\", line) for line in packages)
    following = [lines[number + 1] for number, line in enumerate(lines) if line in packages]
    assert all(line.startswith("    --hash=sha256:") for line in following)
    install = next(
        line for line in stages()[f"build-{target}"] if "requirements.txt" in line and line.startswith("RUN")
    )
    assert "--require-hashes" in install


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_the_image_has_the_versions_that_the_tests_ran_with(target: str) -> None:
    pattern = re.compile(r"^([a-z0-9._-]+)==([^\s+\\]+)", re.MULTILINE)
    constraints = dict(pattern.findall((ROOT / "constraints.txt").read_text().lower()))
    packages = dict(pattern.findall((DEPLOY / "docker" / f"requirements-{target}.txt").read_text()))
    shared = {name for name in packages if name.replace("_", "-") in {c.replace("_", "-") for c in constraints}}
    assert len(shared) > 50
    normal = {name.replace("_", "-"): version for name, version in constraints.items()}
    assert {name: packages[name] for name in shared} == {name: normal[name.replace("_", "-")] for name in shared}


def test_only_what_the_image_needs_is_sent_to_the_builder() -> None:
    ignored = (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    for line in DOCKERFILE.splitlines():
        if line.startswith("COPY") and "--from" not in line:
            for source in line.split()[1:-1]:
                name = source.removeprefix("./")
                kept = {item.removeprefix("!") for item in ignored if item.startswith("!")}
                assert name in kept or any(Path(name).match(item) for item in kept), name
