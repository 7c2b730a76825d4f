"""A DNS server on loopback that knows one name, as cluster DNS knows a headless Service: one address a replica."""

from __future__ import annotations

import random
import socket
import struct
import threading
from typing import Self

A, IN = 1, 1
TTL_S = 5  # CoreDNS' kubernetes plugin


class HeadlessService:
    """Answers questions for A records of any name with `addresses`, in changing order; other types have no records."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def target(self, port: int) -> str:
        """What a gRPC client asks for: the name, at this DNS server."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/policy.rlhf.svc.cluster.local:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                question, client = self._socket.recvfrom(4096)
                self._socket.sendto(self._answer(question), client)
            except OSError:
                return

    def _answer(self, message: bytes) -> bytes:
        """RFC 1035, 4.1: header, question, answers whose name is a pointer to the question's (0xc00c)."""
        end = message.index(0, 12) + 5
        (kind,) = struct.unpack(">H", message[end - 4 : end - 2])
        addresses = random.sample(self.addresses, len(self.addresses)) if kind == A else []
        header = message[:2] + struct.pack(">5H", 0x8580, 1, len(addresses), 0, 0)
        records = [struct.pack(">HHHIH", 0xC00C, A, IN, TTL_S, 4) + socket.inet_aton(address) for address in addresses]
        return header + message[12:end] + b"".join(records)
