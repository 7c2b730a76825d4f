"""Real servers for tests: in this process on a thread of their own, or as processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from prometheus_client.parser import text_string_to_metric_families
from rewardplane.services.common.config import ServerConfig
from rewardplane.services.common.server import Server, running_server


class Served:
    """A server that runs in this process, on the event loop `loop`."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.target = f"127.0.0.1:{server.port}"
        self.channel = grpc.insecure_channel(self.target)

    def metrics(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """By name and label values, as Prometheus would scrape them."""
        return scrape(self.server.metrics_port)


@contextmanager
def served(role: str, directory: Path, **settings: Any) -> Iterator[Served]:
    """A server that serves, on any free ports; `settings` are those of ServerConfig."""
    started: Future[Served] = Future()
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set) and None)
        async with running_server(role, directory, ServerConfig(**{"threads": 1, **settings})) as server:
            started.set_result(Served(server, loop))
            await stopping.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name=f"serve-{role}", daemon=True)
    thread.start()
    running = started.result(60)
    try:
        yield running
    finally:
        running.channel.close()
        stop[0]()
        thread.join(60)


class Process:
    """`rewardplane serve` as a process."""

    def __init__(self, role: str, directory: Path, folder: Path, *flags: str) -> None:
        self._ports = folder / f"{role}-{time.monotonic_ns()}.json"
        self._log = self._ports.with_suffix(".log").open("w+")
        code = "import sys; from rewardplane.__main__ import main; sys.exit(main())"
        where = ["--model", str(directory), "--port", "0", "--metrics-port", "0", "--port-file", str(self._ports)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", role, *where, "--threads", "1", *flags],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=self._log,
            stderr=self._log,
        )

    def wait_until_serving(self, timeout_s: float = 60.0) -> str:
        """Gives HOST:PORT."""
        end_s = time.monotonic() + timeout_s
        while not self._ports.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log()}")
            if time.monotonic() > end_s:
                raise TimeoutError(f"the server does not serve:\n{self.log()}")
            time.sleep(0.05)
        ports = json.loads(self._ports.read_text())
        self.metrics_port = ports["metrics_port"]
        return f"127.0.0.1:{ports['port']}"

    def log(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text(errors="replace")  # gRPC logs what it was sent

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._log.close()


def scrape(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample of http://127.0.0.1:PORT/metrics by its name and its label values, sorted by label name."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
