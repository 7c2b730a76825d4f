"""The copy of a run at an fsspec URL: states and checkpoints, and what the run wrote about itself.

A directory counts as there once its last file is: object stores have no rename, but each file appears whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import fsspec

from rewardplane.modeling.checkpoint import MANIFEST

from ..config import ConfigError
from .state import PROGRESS

STATES, CHECKPOINTS = "states", "checkpoints"
LAST_FILE = {STATES: PROGRESS, CHECKPOINTS: MANIFEST}


class Mirror:
    """Directories of a run under one URL."""

    def __init__(self, url: str) -> None:
        """Raises ConfigError for a URL that no installed file system knows."""
        self.url = url
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"output.url = {url}: {error}") from error
        self._root = root.rstrip("/")

    def names(self, kind: str) -> list[str]:
        """Of the directories that are there whole, sorted."""
        return [name for name in self._directories(kind) if self._fs.exists(self._path(kind, name, LAST_FILE[kind]))]

    def put(self, kind: str, directory: Path) -> None:
        """Copies a directory; its last file last."""
        last = LAST_FILE[kind]
        files = sorted(directory.iterdir(), key=lambda path: path.name == last)
        self._fs.makedirs(self._path(kind, directory.name), exist_ok=True)
        for file in files:
            self._fs.put_file(str(file), self._path(kind, directory.name, file.name))

    def fetch(self, kind: str, name: str, directory: Path) -> None:
        """Copies a directory from there."""
        for path in self._fs.ls(self._path(kind, name), detail=False):
            self._fs.get_file(path, str(directory / path.rstrip("/").rpartition("/")[2]))

    def remove_all_but(self, kind: str, kept: Collection[str]) -> None:
        """Removes directories, half-copied ones too."""
        for name in self._directories(kind):
            if name not in kept:
                last = self._path(kind, name, LAST_FILE[kind])
                if self._fs.exists(last):  # first, so that nobody takes the rest for whole
                    self._fs.rm_file(last)
                self._fs.rm(self._path(kind, name), recursive=True)

    def put_files(self, files: Iterable[Path]) -> None:
        self._fs.makedirs(self._root, exist_ok=True)
        for file in files:
            if file.exists():
                self._fs.pipe_file(self._path(file.name), file.read_bytes())

    def fetch_files(self, files: Iterable[Path]) -> None:
        for file in files:
            if self._fs.exists(self._path(file.name)):
                file.write_bytes(self._fs.cat_file(self._path(file.name)))

    def _directories(self, kind: str) -> list[str]:
        self._fs.invalidate_cache()  # others write there, too
        try:
            found = self._fs.ls(self._path(kind), detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def _path(self, *names: str) -> str:
        return "/".join((self._root, *names))
