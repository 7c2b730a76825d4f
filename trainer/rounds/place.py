"""A round that is worked on: its directory, its record, the round before it."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rewardplane.modeling.checkpoint import read_manifest

from ..config import ConfigError
from ..demo.package_index import cache_directory
from .names import LOCK
from .record import RECORD, RoundRecord, file_digest, read_record, write_record
from .remote import RemoteRound, is_url


@dataclass(frozen=True)
class Round:
    """What a step works on; steps give a new one back."""

    place: str
    """Directory or URL, as it was given."""
    directory: Path
    """Where it is worked on: of a URL a copy here, which may be lost between two steps."""
    record: RoundRecord
    parent: Round | None

    @property
    def name(self) -> str:
        return f"round {self.record.number}"

    @property
    def remote(self) -> RemoteRound | None:
        return RemoteRound(self.place) if is_url(self.place) else None

    def lineage(self) -> list[Round]:
        """The first round first, this one last."""
        return [*(self.parent.lineage() if self.parent else []), self]

    def with_step(self, **step: Any) -> Round:
        """Records a step that is done, and copies the round to its URL.

        The record is written last, there and then here: what it does not name is done again.
        """
        made = replace(self, record=self.record.model_copy(update=step))
        made.copy_to_url()
        write_record(self.directory, made.record)
        return made

    def copy_to_url(self) -> None:
        """Nothing happens to a round of a directory. Raises ConfigError."""
        if self.remote:
            with TemporaryDirectory() as staging:
                write_record(Path(staging), self.record)
                self.remote.put(self.directory, Path(staging) / RECORD)

    def sampled_policy(self) -> Path:
        """The policy whose answers are ranked here: the last round's, or the SFT model. Raises ConfigError."""
        if self.parent is None:
            return self.sft()
        return self.parent.trained_policy()

    def last_reward(self) -> Path | None:
        """The last round's reward model. Raises ConfigError."""
        return None if self.parent is None else self.parent.trained_reward()

    def trained_policy(self) -> Path:
        """Raises ConfigError where there is none, or another one."""
        if self.record.policy is None:
            raise ConfigError(f"{self.place}: {self.name} has no policy yet: `rewardplane round train` comes first")
        return checked(self.directory / self.record.policy.path, self.record.policy.digest)

    def trained_reward(self) -> Path:
        """Raises ConfigError where there is none, or another one."""
        if self.record.reward is None:
            raise ConfigError(f"{self.place}: {self.name} has no reward model: `rewardplane round train` comes first")
        return checked(self.directory / self.record.reward.path, self.record.reward.digest)

    def sft(self) -> Path:
        return checked(self.record.settings.sft, self.record.sft_digest)


def open_round(place: str) -> Round:
    """Reads a round and those before it. Raises ConfigError."""
    directory = work_directory(place)
    if is_url(place):
        RemoteRound(place).fetch(directory)
    record = read_record(directory)
    parent = None
    if record.parent is not None:
        parent = open_round(record.parent if is_url(record.parent) else os.path.normpath(directory / record.parent))
        if file_digest(parent.directory / RECORD) != record.parent_digest:
            raise ConfigError(f"{place}: its parent {parent.place} was changed since round {record.number} began")
    return Round(place, directory, record, parent)


def work_directory(place: str) -> Path:
    """A directory is worked on where it is; a URL has a copy in the cache."""
    if not is_url(place):
        return Path(place).absolute()
    name = hashlib.sha256(place.rstrip("/").encode()).hexdigest()[:16]
    return cache_directory(os.environ) / "rounds" / name


@contextmanager
def locked(place: str) -> Iterator[None]:
    """Holds a round against other commands on this machine. Raises ConfigError where one works on it."""
    directory = work_directory(place)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{place}: another command works on this round; wait for it") from None
        yield


def checked(path: Path, digest: str) -> Path:
    """Raises ConfigError where a checkpoint is not the one that the round names."""
    found = read_manifest(path).digest
    if found != digest:
        raise ConfigError(f"{path} is {found[:12]}, and the round was made with {digest[:12]}: put the old one back")
    return path
