"""Answers of the tests' API server that go on for a while: watches and logs."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kube_rules import Refused
from kube_store import Object, Store


@dataclass
class Streams:
    """What all of a server's streams look at."""

    store: Store
    cut: threading.Event = field(default_factory=threading.Event)
    """While it is set, streams break off."""
    stopped: threading.Event = field(default_factory=threading.Event)


def send_watch(
    handler: Any, streams: Streams, resource: str, keep: Callable[[Object], bool], query: dict[str, str]
) -> None:
    send = _stream(handler)
    try:
        for change in streams.store.watch(
            resource, keep, int(query["resourceVersion"]), float(query["timeoutSeconds"]), streams.stopped
        ):
            if streams.cut.is_set():
                break_off(handler)
                return
            if change is not None:
                send(json.dumps({"type": change.kind, "object": change.object}) + "\n")
    except Refused as refusal:
        send(json.dumps({"type": "ERROR", "object": refusal.status()}) + "\n")
    send("")


def send_log(handler: Any, streams: Streams, name: str, query: dict[str, str]) -> None:
    pod = streams.store.get("pods", name)
    if pod["status"].get("phase") == "Pending":
        raise Refused(400, "BadRequest", f'container "trainer" in pod "{name}" is waiting to start')
    send = _stream(handler)
    sent = 0
    since = query.get("sinceTime", "")[:19]  # whole seconds
    while True:
        lines = streams.store.logs.get(name, [])
        for stamp, text in lines[sent:]:
            if stamp[:19] >= since:
                send(f"{stamp} {text}\n")
        sent = len(lines)
        ended = streams.store.get("pods", name)["status"].get("phase") in ("Succeeded", "Failed")
        if query.get("follow") != "true" or (ended and sent == len(streams.store.logs.get(name, []))):
            break
        if streams.cut.is_set() or streams.stopped.is_set():
            break_off(handler)
            return
        time.sleep(0.02)
    send("")


def _stream(handler: Any) -> Callable[[str], None]:
    """Sends chunks; an empty one is the end."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()

    def send(text: str) -> None:
        data = text.encode()
        handler.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        handler.wfile.flush()

    return send


def break_off(handler: Any) -> None:
    """In the middle of an answer, without a last chunk."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
