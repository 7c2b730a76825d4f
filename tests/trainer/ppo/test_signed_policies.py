"""A PPO run takes signed models only, and signs what it publishes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Configure
from ppo_runs import SCORES_AS_GIVEN, Models
from rewardplane.trainer.config import ConfigError
from rewardplane.trainer.ppo.train import run_ppo
from signing_keys import make_keys

from rewardplane.modeling.signing import TrustedKeys, read_signing_key, sign_manifest


def test_published_policies_are_signed(configure: Configure, models: Models, tmp_path: Path) -> None:
    private, public = make_keys(tmp_path, "ours")
    copies = {"policy": tmp_path / "sft", "value": tmp_path / "reward"}
    for name, source in (("policy", models.sft), ("value", models.reward)):
        shutil.copytree(source, copies[name])
    signed = {
        **SCORES_AS_GIVEN,
        "updates": 1,
        "policy.path": str(copies["policy"]),
        "value.path": str(copies["value"]),
        "trusted_keys": str(public),
        "output.signing_key": str(private),
    }
    config = configure(tmp_path, signed)
    sign_manifest(copies["policy"], read_signing_key(private))
    with pytest.raises(ConfigError, match=r"value\.path: .* is not signed"):
        run_ppo(config)
    sign_manifest(copies["value"], read_signing_key(private))
    result = run_ppo(config)
    assert TrustedKeys(public).require(result.checkpoint) == result.manifest.digest


def test_a_key_that_cannot_sign_stops_the_run_at_its_start(configure: Configure, tmp_path: Path) -> None:
    _, public = make_keys(tmp_path, "ours")
    with pytest.raises(ConfigError, match=r"output\.signing_key: .*ours\.pub"):
        run_ppo(configure(tmp_path, {"output.signing_key": str(public)}))
