"""`rewardplane round start`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rewardplane.modeling.checkpoint import read_manifest

from ..config import ConfigError, load_config, override_config
from ..models import check_model_directory
from .config import RoundConfig
from .place import Round, open_round, work_directory
from .record import RECORD, RoundRecord, file_digest
from .remote import RemoteRound, is_url


def start_round(place: str, parent_place: str | None, config: Path | None, overrides: Sequence[str]) -> Round:
    """Makes a round; the same call on the same round changes nothing. Raises ConfigError.

    Settings are the parent's where no file is given.
    """
    parent = open_round(parent_place) if parent_place else None
    settings = _settings(parent, config, overrides)
    record = _first_round(settings) if parent is None else _next_round(place, parent, settings)
    directory = work_directory(place)
    if is_url(place):
        RemoteRound(place).fetch(directory)
    if (directory / RECORD).exists():
        return _same_round(place, record)
    directory.mkdir(parents=True, exist_ok=True)
    return Round(place, directory, record, parent).with_step()


def _settings(parent: Round | None, config: Path | None, overrides: Sequence[str]) -> RoundConfig:
    if config is not None:
        settings = load_config(config, RoundConfig, overrides)
    elif parent is not None:
        settings = override_config(parent.record.settings, overrides)
    else:
        raise ConfigError("the first round has no settings yet: give --config FILE.toml, or --parent ROUND")
    check_model_directory("sft", settings.sft)
    return settings.with_absolute_paths()


def _first_round(settings: RoundConfig) -> RoundRecord:
    if settings.sample.choice != "random":
        raise ConfigError(
            f'sample.choice = "{settings.sample.choice}": a first round has no reward model to choose by; give "random"'
        )
    sft = read_manifest(settings.sft).digest
    return RoundRecord(
        number=1, parent=None, parent_digest=None, settings=settings,
        sft_digest=sft, policy_digest=sft, reward_digest=None,
    )  # fmt: skip


def _next_round(place: str, parent: Round, settings: RoundConfig) -> RoundRecord:
    last = parent.record
    policy, reward = read_manifest(parent.trained_policy()).digest, read_manifest(parent.trained_reward()).digest
    if read_manifest(settings.sft).digest != last.sft_digest:
        raise ConfigError(
            f"sft = {settings.sft}: the rounds before had another reference, and KL would mean another thing"
        )
    between_directories = not is_url(parent.place) and not is_url(place)
    return RoundRecord(
        number=last.number + 1,
        # From directory to directory, so that a tree of rounds can be moved.
        parent=os.path.relpath(parent.directory, work_directory(place)) if between_directories else _lasting(parent),
        parent_digest=file_digest(parent.directory / RECORD),
        settings=settings,
        sft_digest=last.sft_digest,
        policy_digest=policy,
        reward_digest=reward,
    )


def _lasting(parent: Round) -> str:
    return parent.place if is_url(parent.place) else str(parent.directory)


def _same_round(place: str, wanted: RoundRecord) -> Round:
    found = open_round(place)
    begun = {"sampled": None, "labelled": None, "reward": None, "policy": None}
    if found.record.model_copy(update=begun) != wanted:
        raise ConfigError(f"{place} holds round {found.record.number}, begun with other settings; choose another place")
    return found
