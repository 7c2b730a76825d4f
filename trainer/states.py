"""States that an interrupted SFT or reward run goes on from, to the last bit (on CPU).

Batches are functions of the seed and the epoch, so a state is weights, optimizer moments and a number of updates. It
appears under its name in one rename, and goes when the run's checkpoint is there.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from rewardplane.modeling.durable import disk_errors, sync_path

from .config import ConfigError
from .metrics.written import Written
from .optim import Optimizer
from .sharding import Trained
from .sums import check_sums, write_sums
from .whole_state import load_whole_state, whole_state

log = logging.getLogger(__name__)

TENSORS, PROGRESS = "tensors.pt", "progress.json"


class RunStates:
    """The states of one run, in `output`/states."""

    def __init__(self, output: Path, save_every: int, settings: str) -> None:
        """`save_every` updates, 0 for never; `settings`: a digest of what decides the run's numbers."""
        self._directory = output / "states"
        self._save_every = save_every
        self._settings = settings
        self.written = Written()

    def resume(self, trained: Trained, optimizer: Optimizer) -> int:
        """Puts weights and moments back; gives the updates that were done, 0 without a state.

        Raises ConfigError when the state is that of a run with other settings, BadCheckpoint when a byte of it has
        changed.
        """
        states = sorted(self._directory.glob("[0-9]*"))
        if not states:
            return 0
        check_sums(states[-1])
        progress = json.loads((states[-1] / PROGRESS).read_text())
        if progress["settings"] != self._settings:
            raise ConfigError(
                f"output: {self._directory.parent} holds a run with other settings that was interrupted; choose "
                "another directory, give it the settings that it began with, or remove its states"
            )
        tensors = torch.load(states[-1] / TENSORS, weights_only=True, mmap=True)  # a shard needs only its share
        load_whole_state(trained.model, tensors["model"])
        load_whole_state(optimizer.adamw, tensors["optimizer"])
        done: int = progress["update"]
        log.warning("going on after update %d (%s)", done, states[-1])
        return done

    def save_when_due(self, trained: Trained, optimizer: Optimizer, done: int) -> None:
        """Writes the state after `done` updates if it is time to, and removes the one before."""
        if not self._save_every or done % self._save_every:
            return
        with self.written.timed("checkpoint"):
            self._save(trained, optimizer, done)

    def _save(self, trained: Trained, optimizer: Optimizer, done: int) -> None:
        first = trained.processes.first
        tensors = {
            "model": whole_state(trained.model, wanted=first),
            "optimizer": whole_state(optimizer.adamw, wanted=first),
        }
        if first:
            self._write(tensors, done)

    def _write(self, tensors: dict[str, Any], done: int) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        before = list(self._directory.iterdir())  # half-written ones, too
        staging = Path(tempfile.mkdtemp(prefix=".state.", dir=self._directory))
        with disk_errors(staging), (staging / TENSORS).open("wb") as file:
            torch.save(tensors, file)
        (staging / PROGRESS).write_text(json.dumps({"update": done, "settings": self._settings}))
        write_sums(staging)
        for path in (*staging.iterdir(), staging):
            sync_path(path)
        staging.rename(self._directory / f"{done:08d}")
        sync_path(self._directory)
        for old in before:
            shutil.rmtree(old)

    def remove(self) -> None:
        """When the run's checkpoint is there."""
        shutil.rmtree(self._directory, ignore_errors=True)
