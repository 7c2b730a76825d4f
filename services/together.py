"""One server of several processes, which torchrun starts and which hold the model together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import torch

from .common.config import ServerConfig
from .common.cores import available_cores
from .common.loading import read_model
from .common.team import joined
from .common.team_model import Leader, Member
from .roles import ROLES

log = logging.getLogger(__name__)

LOST = 1


def serve_together(role: str, config: ServerConfig, serve: Callable[[Leader], Coroutine[Any, Any, None]]) -> None:
    """The first process does `serve`; the others take part until it is done. Raises what `serve` raises."""
    with joined(config.device, _give_up) as team:
        if team.rank == 0:
            leader = Leader(team)
            try:
                asyncio.run(serve(leader))
            finally:
                leader.stop()
            return
        for number in (signal.SIGTERM, signal.SIGINT):  # torchrun tells all; the first one lets the others end
            signal.signal(number, signal.SIG_IGN)
        _, threads = config.compute_threads(available_cores())
        torch.set_num_threads(threads)
        Member(team, lambda directory: read_model(ROLES[role], directory, config, team.count)).run()


def _give_up(why: str) -> NoReturn:
    log.critical("the processes that hold the model have lost one another: %s", why)
    os._exit(LOST)
