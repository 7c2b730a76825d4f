"""The component `mtls`: every part gets the certificate that its names and its flags ask for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import DEPLOY, Object, named, of_kind, pod, pods, with_component
from rewardplane.trainer.config import load_config
from rewardplane.trainer.launcher.command import promote_app
from rewardplane.trainer.ppo.config import PpoRunConfig
from typer.main import get_command

SERVERS = ("reward", "reference", "policy")
FILES = {"tls.crt", "tls.key", "ca.crt"}  # what cert-manager writes into a Secret


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Object, ...]:
    return with_component("mtls", tmp_path_factory.mktemp("mtls"))


def secret_of(objects: tuple[Object, ...], kind: str, name: str) -> tuple[str, str]:
    """The Secret that a pod mounts, and where."""
    found = pod(objects, kind, name)
    (volume,) = [volume for volume in found.spec["volumes"] if "secret" in volume]
    (mount,) = [mount for mount in found.main["volumeMounts"] if mount["name"] == volume["name"]]
    assert mount["readOnly"]
    return volume["secret"]["secretName"], mount["mountPath"]


def test_every_secret_that_is_mounted_is_made(sealed: tuple[Object, ...]) -> None:
    made = {item["spec"]["secretName"] for item in of_kind(sealed, "Certificate")}
    wanted = {
        volume["secret"]["secretName"]
        for candidate in pods(sealed)
        for volume in candidate.spec["volumes"]
        if "secret" in volume
    }
    assert wanted == {"reward-tls", "reference-tls", "policy-tls", "trainer-tls"} <= made
    issuers = {item["metadata"]["name"]: item["spec"] for item in of_kind(sealed, "Issuer")}
    assert {item["spec"]["issuerRef"]["name"] for item in of_kind(sealed, "Certificate")} == set(issuers)
    assert issuers["rewardplane"]["ca"]["secretName"] in made


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_speaks_tls_under_the_name_of_its_service(sealed: tuple[Object, ...], name: str) -> None:
    secret, mount = secret_of(sealed, "Deployment", name)
    arguments = pod(sealed, "Deployment", name).main["args"]
    flags = dict(argument.split("=", 1) for argument in arguments if argument.startswith("--tls-"))
    assert flags == {
        "--tls-cert": f"{mount}/tls.crt",
        "--tls-key": f"{mount}/tls.key",
        "--tls-client-ca": f"{mount}/ca.crt",
    }
    certificate = named(sealed, "Certificate", name)["spec"]
    assert certificate["secretName"] == secret
    namespace = named(sealed, "Service", name)["metadata"]["namespace"]
    assert f"{name}.{namespace}.svc.cluster.local" in certificate["dnsNames"]
    assert {"server auth", "client auth"} <= set(certificate["usages"])
    assert "--health-port=8081" in arguments  # probes cannot show a certificate


def test_the_trainer_asks_its_judges_by_names_that_their_certificates_have(
    sealed: tuple[Object, ...], tmp_path: Path
) -> None:
    secret, mount = secret_of(sealed, "CronJob", "trainer")
    assert named(sealed, "Certificate", "trainer")["spec"]["secretName"] == secret
    arguments = pod(sealed, "CronJob", "trainer").main["args"]
    overrides = [argument.removeprefix("--set=") for argument in arguments if argument.startswith("--set=")]
    config = load_config(DEPLOY / "base" / "config" / "ppo.toml", PpoRunConfig, overrides)
    for name, judge in (("reward", config.reward), ("reference", config.reference)):
        assert judge.tls is not None
        files = [judge.tls.cert, judge.tls.key, judge.tls.ca]
        assert [str(path) for path in files] == [f"{mount}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")]
        host = judge.target.removeprefix("dns:///").rpartition(":")[0]
        assert host in named(sealed, "Certificate", name)["spec"]["dnsNames"]


def test_the_example_promotes_with_the_launchers_certificate(sealed: tuple[Object, ...]) -> None:
    plain, example = (
        yaml.safe_load((DEPLOY / "examples" / name).read_text())["spec"]["template"]["spec"]
        for name in ("promote.yaml", "promote-mtls.yaml")
    )
    (volume,) = [volume for volume in example["volumes"] if volume not in plain["volumes"]]
    assert volume["secret"]["secretName"] == named(sealed, "Certificate", "launcher")["spec"]["secretName"]
    (container,) = example["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    given = get_command(promote_app).make_context("rewardplane promote", [*container["args"]]).params
    files = [given["tls_cert"], given["tls_key"], given["tls_ca"]]
    assert [str(path) for path in files] == [
        f"{mount['mountPath']}/{file}" for file in ("tls.crt", "tls.key", "ca.crt")
    ]
    assert given["tls_server_name"] in named(sealed, "Certificate", "policy")["spec"]["dnsNames"]
    # All else is as without TLS.
    example["volumes"].remove(volume)
    container["volumeMounts"].remove(mount)
    container["args"] = [word for word in container["args"] if not word.startswith("--tls-")]
    assert example == plain


def test_the_access_file_of_the_documents_names_the_trainers_certificate(sealed: tuple[Object, ...]) -> None:
    text = (DEPLOY.parent / "docs" / "security.md").read_text()
    access: dict[str, Any] = tomllib.loads(text.split("```toml")[1].split("```")[0])
    names = access["identities"]["trainer"]["certificate_names"]
    assert set(names) <= set(named(sealed, "Certificate", "trainer")["spec"]["dnsNames"])
