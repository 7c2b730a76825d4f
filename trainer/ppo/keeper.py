"""Keeps what a run must not lose: states, published checkpoints and the best of them; here and at a URL."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rewardplane.modeling.checkpoint import Manifest, read_manifest
from rewardplane.modeling.models import Loaded
from rewardplane.modeling.signing import BadKey, read_signing_key, sign_manifest

from ..config import ConfigError
from ..metrics.written import Written
from ..progress import METRICS
from ..run_record import RUN
from ..sharding import Trained
from .config import OutputConfig
from .evaluate import SAMPLES
from .learner import Learner
from .mirror import CHECKPOINTS, STATES, Mirror
from .publish import checkpoint_directory, checkpoint_name, publish, remove_all_but
from .rollout import Rollout
from .state import Best, Progress, newest_state, snapshot, write_state
from .writer import Writer

log = logging.getLogger(__name__)

BEST = "best.json"


class Keeper:
    """Takes copies at once and writes them in the background, in the order in which they were given."""

    def __init__(self, config: OutputConfig, policy_name: str) -> None:
        """Raises ConfigError for a URL that cannot be written, and for a key that cannot be used."""
        self._config = config
        self._policy_name = policy_name
        self.written = Written()
        self._states = config.directory / STATES
        self._checkpoints = checkpoint_directory(config.directory)
        self._about = [config.directory / name for name in (RUN, METRICS, SAMPLES, BEST)]
        self._seal = _seal(config.signing_key)
        self._mirror = Mirror(config.url) if config.url else None
        self._writer = Writer()
        self._best = ""  # name of the best checkpoint; of the writer's thread

    def newest_state(self) -> str | None:
        """Its name, wherever it is. Raises ConfigError for checkpoints of a run without states."""
        here = newest_state(self._states)
        there, checkpoints_there = self._found_there()
        if here is None and not there:
            for place, checkpoints in (
                (f"output.directory: {self._config.directory}", self._checkpoints.exists()),
                (f"output.url: {self._config.url}", bool(checkpoints_there)),
            ):
                if checkpoints:
                    raise ConfigError(
                        f"{place} holds checkpoints of another run and no state to go on from; choose another"
                    )
        return max([*([here.name] if here else []), *there], default=None)

    def fetch_state(self, name: str) -> Path:
        """Where the state of that name is, here."""
        state = self._states / name
        if not state.exists() and self._mirror:
            self._fetch(self._mirror, name)
        return state

    def _found_there(self) -> tuple[list[str], list[str]]:
        """Names of states and checkpoints at the URL."""
        if self._mirror is None:
            return [], []
        try:
            return self._mirror.names(STATES), self._mirror.names(CHECKPOINTS)
        except Exception as error:  # of whatever file system it is
            raise ConfigError(f"output.url = {self._mirror.url}: it cannot be read: {error}") from error

    def remember_best(self, best: Best | None) -> None:
        """Of the run that goes on."""
        self._best = self.checkpoint(best.update).name if best else ""

    def save(self, learner: Learner, progress: Progress, ahead: Mapping[int, Rollout]) -> None:
        """`ahead`: the rollouts of later updates that were sampled already."""
        tensors = snapshot(learner, ahead)
        if learner.processes.first:
            self._writer.submit(partial(self._write_state, tensors, progress))

    def publish(self, policy: Loaded, trained: Trained, updates: int, best: Best | None) -> None:
        """Writes the policy after so many updates, unless that was done before a resume."""
        first = trained.processes.first
        done = trained.processes.from_first(self.checkpoint(updates).exists)
        model = None if done else trained.copy(wanted=first)
        if first:
            self._writer.submit(partial(self._publish, policy, model, updates, best))

    def checkpoint(self, updates: int) -> Path:
        return self._checkpoints / checkpoint_name(self._policy_name, updates)

    def published(self, updates: int) -> Manifest:
        """Of the policy after so many updates, which `publish` was called for; waits until it is written."""
        self._writer.finish()
        return read_manifest(self.checkpoint(updates))

    def forget_published(self, updates: int) -> None:
        """Removes the policies after more updates: of a run that goes on from here, and will make them anew."""
        later = [path.name for path in self._checkpoints.glob("[!.]*") if path.name > self.checkpoint(updates).name]
        remove_all_but(self._checkpoints, set(_names(self._checkpoints)) - set(later))

    def finish(self) -> None:
        """Waits until all is written, here and at the URL. Raises ConfigError when the URL cannot be written."""
        self._writer.finish()
        if self._mirror:
            try:
                self._copy_all(self._mirror)
            except Exception as error:
                raise ConfigError(
                    f"output.url = {self._mirror.url}: it cannot be written: {error}; "
                    f"all is in {self._config.directory}"
                ) from error

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def _write_state(self, tensors: dict[str, Any], progress: Progress) -> None:
        with self.written.timed("checkpoint"):
            write_state(self._states, tensors, progress, self._config.keep_states)
            self._copy()

    def _publish(self, policy: Loaded, model: Any, updates: int, best: Best | None) -> None:
        with self.written.timed("publish"):
            publish(self.checkpoint(updates), policy, model, self._policy_name, updates, self._seal)
        self.written.policy_version = updates
        self.remember_best(best)
        if best is not None:
            content = {"checkpoint": self._best, "update": best.update, str(self._config.keep_best): best.value}
            (self._config.directory / BEST).write_text(json.dumps(content) + "\n", encoding="utf-8")
        if self._config.keep_published:
            remove_all_but(self._checkpoints, self._kept(CHECKPOINTS, _names(self._checkpoints)))
        self._copy()

    def _kept(self, kind: str, names: Iterable[str]) -> set[str]:
        """Those that the policy of keeping spares."""
        newest_last = sorted(names)
        if kind == STATES:
            return set(newest_last[-self._config.keep_states :])
        if not self._config.keep_published:
            return set(newest_last)
        return {*newest_last[-self._config.keep_published :], self._best}

    def _copy(self) -> None:
        """A store that is away is tried again with the next state: nothing is lost meanwhile, it is all here."""
        if self._mirror:
            try:
                self._copy_all(self._mirror)
            except Exception as error:  # of whatever file system it is
                log.error(
                    "%s cannot be written (%s); what is missing there is copied with the next state",
                    self._mirror.url, error,
                )  # fmt: skip

    def _copy_all(self, mirror: Mirror) -> None:
        mirror.put_files(self._about)  # before the state: it goes with all that was written until then
        for kind, directory in ((CHECKPOINTS, self._checkpoints), (STATES, self._states)):
            here, there = _names(directory), mirror.names(kind)
            kept = self._kept(kind, {*here, *there})
            for name in here:
                if name in kept and name not in there:
                    mirror.put(kind, directory / name)
            mirror.remove_all_but(kind, kept)

    def _fetch(self, mirror: Mirror, name: str) -> None:
        fetched = self._states / f".state.{name}"
        fetched.mkdir(parents=True, exist_ok=True)
        mirror.fetch(STATES, name, fetched)
        mirror.fetch_files(self._about)
        log.warning("fetched state %s from %s", name, mirror.url)
        fetched.rename(self._states / name)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob("[!.]*") if path.is_dir())


def _seal(signing_key: Path | None) -> Callable[[Path], None] | None:
    if signing_key is None:
        return None
    try:
        key = read_signing_key(signing_key)
    except BadKey as error:
        raise ConfigError(f"output.signing_key: {error}") from error
    return lambda directory: sign_manifest(directory, key)
