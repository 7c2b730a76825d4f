"""A TCP proxy that breaks connections the ways that networks do, on a thread of its own.

gRPC cannot be fooled by a byte that comes twice on one connection (TCP would not deliver it), so what is
duplicated here is a connection: all that a client has sent on one is sent to the server again on another.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

CHUNK_BYTES = 1 << 14
RESET = struct.pack("ii", 1, 0)  # linger for 0 s: closing sends RST, as a host that was started again does


@dataclass
class Weather:
    """What happens to bytes from now on, on old connections and on new ones."""

    delay_s: float = 0.0
    """Added to each direction."""
    bytes_per_s: float | None = None
    """Of each connection and direction."""
    silent: bool = False
    """Nothing is delivered and nothing said: both ends of a connection believe in it (half-open)."""
    refuses: bool = False
    """New connections are reset."""
    cut_answers_after: int | None = None
    """A connection is reset when so many bytes of answers have passed, in the middle of whatever it is."""


@dataclass(eq=False)
class Connection:
    """A client's connection to the proxy, and the proxy's to the server."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    sent: bytearray = field(default_factory=bytearray)
    """All that the client has sent."""
    answered: int = 0
    """Bytes of answers that were delivered."""

    def reset(self) -> None:
        for end in (self.client, self.server):
            with suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.close()


class FaultyNetwork:
    """Between a client, which is given `target`, and a server."""

    def __init__(self, server: str) -> None:
        self.weather = Weather()
        self.connections: list[Connection] = []
        """Those that are open, oldest first."""
        self.sent: list[bytes] = []
        """What clients sent on the connections that are over."""
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self._changed = asyncio.Condition()

    def change(self, **weather: Any) -> None:
        """Sets fields of Weather; what was held back in silence is delivered when it ends."""
        for name, value in weather.items():
            setattr(self.weather, name, value)
        self._on_loop(self._notify())

    def cut(self) -> int:
        """Resets every connection; gives their number."""
        return self._on_loop(self._cut())

    def send_again(self, sent: bytes, quiet_s: float = 1.0) -> None:
        """Sends the bytes of an earlier connection to the server on one of their own, and drops the answers.

        Hangs up when the server has said nothing for `quiet_s`.
        """
        with socket.create_connection((self._host, self._port), timeout=quiet_s) as again:
            again.sendall(sent)
            with suppress(OSError):
                while again.recv(CHUNK_BYTES):
                    pass

    # Below: on the event loop.

    async def open(self) -> asyncio.Server:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _connected(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.weather.refuses:
            client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.close()
            return
        try:
            from_server, server = await asyncio.open_connection(self._host, self._port)
        except OSError:  # the server is down: so is what stands before it
            client.close()
            return
        connection = Connection(client, server)
        self.connections.append(connection)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(from_client, server, connection, self._count_sent))
                both.create_task(self._forward(from_server, client, connection, self._count_answered))
        except* OSError:
            pass
        finally:
            connection.reset()
            self.connections.remove(connection)
            self.sent.append(bytes(connection.sent))

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: Connection,
        count: Callable[[Connection, bytes], bytes],
    ) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=64)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._deliver(waiting, writer, connection, count))
            data = b"?"
            while data:
                data = await reader.read(CHUNK_BYTES)
                await waiting.put((self._loop.time() + self.weather.delay_s, data))

    async def _deliver(
        self,
        waiting: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        connection: Connection,
        count: Callable[[Connection, bytes], bytes],
    ) -> None:
        while True:
            due_s, data = await waiting.get()
            await asyncio.sleep(due_s - self._loop.time())
            if self.weather.bytes_per_s:
                await asyncio.sleep(len(data) / self.weather.bytes_per_s)
            async with self._changed:
                await self._changed.wait_for(lambda: not self.weather.silent)
            if not data:
                raise ConnectionResetError  # one end has closed: so does the other
            passed = count(connection, data)
            writer.write(passed)
            await writer.drain()
            if len(passed) < len(data):
                raise ConnectionResetError

    def _count_sent(self, connection: Connection, data: bytes) -> bytes:
        connection.sent += data
        return data

    def _count_answered(self, connection: Connection, data: bytes) -> bytes:
        """Gives what may still pass."""
        if self.weather.cut_answers_after is not None:
            data = data[: max(0, self.weather.cut_answers_after - connection.answered)]
        connection.answered += len(data)
        return data

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _cut(self) -> int:
        connections = list(self.connections)
        for connection in connections:
            connection.reset()
        return len(connections)

    def _on_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@contextmanager
def faulty_network(server: str) -> Iterator[FaultyNetwork]:
    """Fair weather until a test changes it."""
    opened: Future[FaultyNetwork] = Future()
    stop: list[Callable[[], object]] = []

    async def run() -> None:
        network = FaultyNetwork(server)
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(stopping.set))
        async with await network.open() as listening:
            opened.set_result(network)
            await stopping.wait()
            listening.close()
            network.weather = Weather()
            await network._notify()
            await network._cut()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="faulty network", daemon=True)
    thread.start()
    try:
        yield opened.result(10)
    finally:
        stop[0]()
        thread.join(10)
