"""The servers that a step asks: started as processes beside it, or running already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rewardplane import Client
from rewardplane.modeling.checkpoint import read_manifest

from ..config import ConfigError
from ..demo.servers import serving

Serve = Callable[[str, Path], AbstractContextManager[str]]
"""Given a role and a checkpoint, has it served and gives the address."""

TIMEOUT_S = 300.0


def processes(logs: Path, targets: Mapping[str, str | None] | None = None) -> Serve:
    """Servers as processes that log into `logs`; of a role in `targets` the server there, if its weights are right."""

    @contextmanager
    def serve(role: str, checkpoint: Path) -> Iterator[str]:
        target = (targets or {}).get(role)
        if target:
            check_server(target, role, checkpoint)
            yield target
        else:
            with serving(role, checkpoint, logs) as address:
                yield address

    return serve


def check_server(target: str, role: str, checkpoint: Path) -> None:
    """Raises ConfigError when a server has other weights than the checkpoint; RewardplaneError."""
    wanted = read_manifest(checkpoint).digest
    with Client(target, timeout_s=TIMEOUT_S) as client:
        served = client.info().model_version.checkpoint_digest
    if served != wanted:
        raise ConfigError(
            f"the {role} server at {target} has {served[:12]}, and {wanted[:12]} is wanted: serve {checkpoint}"
        )
