"""A round in a bucket: begun on one machine, ended on another."""

from __future__ import annotations

from pathlib import Path

import pytest
from rewardplane.trainer.rounds.label import label_round
from rewardplane.trainer.rounds.place import Round, open_round
from rewardplane.trainer.rounds.sample import sample_round
from rewardplane.trainer.rounds.servers import Serve
from rewardplane.trainer.rounds.start import start_round
from rewardplane.trainer.rounds.train import train_policy, train_reward
from s3_server import Bucket
from word_models import write_settings


def test_round_in_s3_is_ended_on_another_machine_as_if_it_were_one(
    first_round: Round, sft: Path, serve: Serve, s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"{s3.url}/{tmp_path.name}/round"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "one"))
    begun = start_round(place, None, write_settings(tmp_path, sft), ())
    train_reward(label_round(sample_round(begun, serve), simulate=True))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    ended = train_policy(open_round(place), serve)
    assert ended.record.reward == first_round.record.reward
    assert ended.record.policy is not None
    assert first_round.record.policy is not None
    assert ended.record.policy.digest == first_round.record.policy.digest
    assert open_round(place).trained_policy().is_relative_to(tmp_path / "another")
