"""`rewardplane promote` takes what is whole and signed, and asks new replicas over TLS."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from certificates import Authority
from kube_cluster import KubeCluster
from rewardplane.trainer.launcher.command import promote
from rewardplane.trainer.launcher.promotion import served_checkpoint
from servers import served
from signing_keys import make_keys
from test_launcher_promote import OLD, ROLLED_OUT, deployment, pod_of_policy, promoted

from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.signing import read_signing_key, sign_manifest


@pytest.fixture
def signed(policy_dir: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A signed copy of the policy, and the key that is trusted."""
    private, public = make_keys(tmp_path, "ours")
    shutil.copytree(policy_dir, tmp_path / "policy-7")
    sign_manifest(tmp_path / "policy-7", read_signing_key(private))
    return tmp_path / "policy-7", public


def test_a_torn_or_unsigned_checkpoint_is_not_promoted(
    kube: KubeCluster, signed: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, trusted = signed
    promoted(kube, OLD, 1)
    wanted = [*kube.where, str(checkpoint), "--trusted-keys", str(trusted), "--no-canary"]
    digest = read_manifest(checkpoint).digest
    assert promote([*kube.where, str(checkpoint), "--digest", "f" * 64, "--no-canary"]) == 1
    assert f"has digest {digest}, and --digest is" in capsys.readouterr().err
    weights = checkpoint / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert promote(wanted) == 1
    assert "is torn or was changed: model.safetensors" in capsys.readouterr().err
    weights.write_bytes(whole)
    (checkpoint / "manifest.json.sig").unlink()
    assert promote(wanted) == 1
    assert "is not signed" in capsys.readouterr().err
    assert promote([*kube.where, "/runs/elsewhere", "--digest", digest, "--trusted-keys", str(trusted)]) == 1
    assert "its signature cannot be checked" in capsys.readouterr().err
    assert served_checkpoint(kube.client()) == OLD


def test_a_new_replica_behind_tls_is_asked_for_scores(
    kube: KubeCluster, signed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, trusted = signed
    authority = Authority(tmp_path)
    own, launcher = authority.issue("policy.test"), authority.issue("launcher.test")
    with served(
        "policy", checkpoint, tls_cert=own.cert, tls_key=own.key, tls_client_ca=authority.ca, trusted_keys=trusted
    ) as server:
        promoted(kube, OLD, server.server.port)
        pod_of_policy(kube, "policy-new", read_manifest(checkpoint).digest)
        kube.play("deployments", "policy", ROLLED_OUT, after=deployment(kube)["metadata"]["generation"])
        files = ["--tls-ca", str(launcher.ca), "--tls-cert", str(launcher.cert), "--tls-key", str(launcher.key)]
        asked = [*kube.where, str(checkpoint), "--trusted-keys", str(trusted), *files]
        assert promote([*asked, "--tls-server-name", "policy.test"]) == 0
    assert "scores as it should" in capsys.readouterr().out
