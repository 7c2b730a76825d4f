"""Checkpoints that must be signed: refused by commands, servers and trainers alike when they are not."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import time

import pytest
from rewardplane.services.common.config import ServerConfig, WrongSetting
from rewardplane.services.common.loading import read_trusted
from rewardplane.services.common.server import running_server
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.models import check_signed
from safetensors.torch import load_file, save_file
from servers import served
from signing_keys import make_keys
from tiny_models import save_tiny

from rewardplane import Client
from rewardplane.__main__ import main
from rewardplane.modeling.checkpoint import BadCheckpoint
from rewardplane.modeling.signing import TrustedKeys, read_signing_key, sign_manifest

PAIR = ("How was it?", "Good.")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return make_keys(tmp_path_factory.mktemp("keys"), "ours")


@pytest.fixture
def signed(reward_dir, keys, tmp_path):
    """A signed copy of the reward model."""
    directory = tmp_path / "reward"
    shutil.copytree(reward_dir, directory)
    assert main(["sign", str(directory), "--key", str(keys[0])]) == 0
    return directory


def altered(directory):
    """Another weight, and a manifest that says so: only the signature tells."""
    weights = load_file(directory / "model.safetensors")
    weights["score.weight"] += 1
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    manifest = json.loads((directory / "manifest.json").read_text())
    digest = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    manifest["files"]["model.safetensors"] = digest
    (directory / "manifest.json").write_text(json.dumps(manifest))


def torn(directory):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def unsigned(directory):
    (directory / "manifest.json.sig").unlink()


def signed_by_another(directory):
    private, _ = make_keys(directory.parent, "another")
    sign_manifest(directory, read_signing_key(private))


def with_a_broken_signature(directory):
    (directory / "manifest.json.sig").write_text("no base64!")


DAMAGES = (altered, torn, unsigned, signed_by_another, with_a_broken_signature)


def test_openssl_verifies_what_is_signed(signed, keys, tmp_path):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    (tmp_path / "raw").write_bytes(base64.b64decode((signed / "manifest.json.sig").read_text()))
    where = ["-pubin", "-inkey", str(keys[1]), "-rawin", "-in", str(signed / "manifest.json")]
    done = subprocess.run(
        [openssl, "pkeyutl", "-verify", *where, "-sigfile", str(tmp_path / "raw")], capture_output=True, text=True
    )
    assert "Verified Successfully" in done.stdout, done.stderr


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_server_does_not_start_on_what_is_not_as_it_was_signed(signed, keys, damage):
    damage(signed)
    with pytest.raises(BadCheckpoint):
        async with running_server("reward", signed, ServerConfig(threads=1, trusted_keys=keys[1])):
            pass


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_verify_command_refuses_it(signed, keys, damage, capsys):
    asked = ["verify", str(signed), "--trusted-keys", str(keys[1])]
    assert main(asked) == 0
    damage(signed)
    assert main(asked) == 1
    assert "rewardplane: " in capsys.readouterr().err


def test_a_server_that_follows_goes_on_with_the_old_one(keys, tmp_path):
    directory = tmp_path / "policies"
    save_tiny(directory / "policy-1", "policy", policy_version=1, seed=1)
    sign_manifest(directory / "policy-1", read_signing_key(keys[0]))
    with (
        served("policy", directory, follow_seconds=0.1, trusted_keys=keys[1]) as server,
        Client(server.target) as client,
    ):
        save_tiny(directory / "policy-2", "policy", policy_version=2, seed=2)
        end_s = time.monotonic() + 20
        while not server.metrics()["rewardplane_model_load_failures_total", ()] and time.monotonic() < end_s:
            time.sleep(0.05)
        assert client.score([PAIR]).model_version.policy_version == 1
        save_tiny(directory / ".policy-3", "policy", policy_version=3, seed=3)
        sign_manifest(directory / ".policy-3", read_signing_key(keys[0]))
        (directory / ".policy-3").rename(directory / "policy-3")
        while client.score([PAIR]).model_version.policy_version != 3 and time.monotonic() < end_s:
            time.sleep(0.05)
        assert client.score([PAIR]).model_version.policy_version == 3


def test_keys_of_another_kind_stop_the_start(reward_dir, tmp_path):
    (tmp_path / "keys").write_text("no key")
    with pytest.raises(WrongSetting, match=r"--trusted-keys: .*does not hold"):
        read_trusted(tmp_path / "keys")


def test_several_keys_may_be_trusted(signed, keys, tmp_path):
    _, other = make_keys(tmp_path, "other")
    both = tmp_path / "both"
    both.write_bytes(other.read_bytes() + keys[1].read_bytes())
    assert TrustedKeys(both).require(signed)
    with pytest.raises(BadCheckpoint, match="none of the trusted keys"):
        TrustedKeys(other).require(signed)


def test_trainers_name_the_key_of_what_is_not_signed(signed, reward_dir, keys, tmp_path):
    check_signed(keys[1], value_path=signed, policy_path=None)
    with pytest.raises(ConfigError, match=r"value\.path: .* is not signed"):
        check_signed(keys[1], policy_path=signed, value_path=reward_dir)
    with pytest.raises(ConfigError, match=r"trusted_keys: .* cannot be read"):
        check_signed(tmp_path / "none", policy_path=signed)


def test_a_plain_directory_cannot_be_signed(signed, keys, capsys):
    (signed / "manifest.json").unlink()
    assert main(["sign", str(signed), "--key", str(keys[0])]) == 1
    assert "no manifest.json" in capsys.readouterr().err
