"""A TCP proxy that holds back every byte of the answers: delay_proxy.py HOST:PORT DELAY_S; prints its own port.

Bytes are not slowed down: what arrives together leaves together, DELAY_S later.
"""

from __future__ import annotations

import asyncio
import socket
import sys


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
        writer.close()

    delivery = asyncio.create_task(deliver())
    data = b"?"
    while data:
        try:
            data = await reader.read(1 << 16)
        except ConnectionError:
            data = b""
        waiting.put_nowait((loop.time() + delay_s, data))
    await delivery


async def serve(target: str, delay_s: float) -> None:
    host, _, port = target.rpartition(":")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_judge, to_judge = await asyncio.open_connection(host, int(port))
        for end in (writer, to_judge):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(forward(reader, to_judge, 0.0), forward(from_judge, writer, delay_s))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))
