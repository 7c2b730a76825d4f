"""Runs the page's server until it is told to end."""

from __future__ import annotations

import contextlib
import signal
import socket
from pathlib import Path

import uvicorn

from ..jsonl import BadData
from .app import LabelServer
from .store import LabelStore

DRAIN_S = 5


def listening_socket(host: str, port: int) -> socket.socket:
    """Raises BadData where nobody can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise BadData(f"cannot listen on {host}:{port}: {error.strerror or error}") from error


def run(store: LabelStore, directory: Path, listening: socket.socket) -> None:
    """Serves until SIGTERM or Ctrl-C. Requests are not logged: who ranks when is nobody's business."""
    config = uvicorn.Config(
        LabelServer(store, directory).app(),
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    # uvicorn drains, then raises the signal again: to be told to end is no failure.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
