"""The copy of a round at an fsspec URL: whoever has the URL can go on.

round.json is copied last, as it says which steps are done: without it, the rest does not count.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config import ConfigError
from ..labelling.store import STORE
from ..models import CHECKPOINT
from ..ppo.mirror import CHECKPOINTS, Mirror
from ..progress import METRICS
from .names import FILES, POLICY_RUN, REWARD_RUN
from .record import RECORD


def is_url(place: str) -> bool:
    return "://" in place


class RemoteRound:
    """A round's directory under one URL. What it raises is ConfigError, with the URL."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._mirror = Mirror(self.url)
        self._reward = Mirror(f"{self.url}/{REWARD_RUN}")

    def fetch(self, directory: Path) -> None:
        """Brings what `directory` lacks, and all files where the round went on elsewhere.

        An unfinished policy run fetches its own states. Rankings that are here are never replaced.
        """
        policy, run = Mirror(self.policy_url), directory / POLICY_RUN
        run.mkdir(parents=True, exist_ok=True)
        try:
            self._fetch_files(directory)
            policy.fetch_files([run / METRICS] if not (run / METRICS).exists() else [])
            for name in policy.names(CHECKPOINTS):
                _fetch_checkpoint(policy, name, run / CHECKPOINTS / name)
            for name in self._reward.names(CHECKPOINTS):
                _fetch_checkpoint(self._reward, name, directory / REWARD_RUN / CHECKPOINT)
        except OSError as error:
            raise ConfigError(f"{self.url} cannot be read: {error}") from error

    def _fetch_files(self, directory: Path) -> None:
        with TemporaryDirectory() as staging:
            newest = Path(staging) / RECORD
            self._mirror.fetch_files([newest])
            if not newest.exists():
                return
            here = directory / RECORD
            went_on = not here.exists() or here.read_bytes() != newest.read_bytes()
            missing = [name for name in FILES if not (directory / name).exists()]
            names = [name for name in FILES if name in missing or (went_on and name != STORE)]
            self._mirror.fetch_files(directory / name for name in names)
            here.write_bytes(newest.read_bytes())

    def put(self, directory: Path, record: Path) -> None:
        """Copies the round's files and its reward model, then `record`; the policy run keeps its own there."""
        checkpoint = directory / REWARD_RUN / CHECKPOINT
        try:
            if checkpoint.exists() and checkpoint.name not in self._reward.names(CHECKPOINTS):
                self._reward.put(CHECKPOINTS, checkpoint)
            with TemporaryDirectory() as staging:
                files = [directory / name for name in FILES if name != STORE]
                if (directory / STORE).exists():
                    files.append(snapshot_store(directory / STORE, Path(staging) / STORE))
                self._mirror.put_files([*files, record])
        except OSError as error:
            raise ConfigError(f"{self.url} cannot be written: {error}") from error

    @property
    def policy_url(self) -> str:
        """Where the policy run keeps its states and checkpoints itself."""
        return f"{self.url}/{POLICY_RUN}"


def snapshot_store(store: Path, copy: Path) -> Path:
    """A whole copy of an SQLite file, with what is still in its write-ahead log."""
    source, target = sqlite3.connect(store), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    return copy


def _fetch_checkpoint(mirror: Mirror, name: str, directory: Path) -> None:
    """It appears under its name in one rename."""
    if directory.exists():
        return
    staging = directory.with_name(f".{directory.name}.fetched")
    staging.mkdir(parents=True, exist_ok=True)
    mirror.fetch(CHECKPOINTS, name, staging)
    staging.rename(directory)
