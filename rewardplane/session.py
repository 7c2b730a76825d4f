"""What both clients are made of: where they send, how long they wait, and what they know of the server."""

from __future__ import annotations

import itertools
import json
import operator
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from rewardplane.batches import Rpc
from rewardplane.calls import Calls
from rewardplane.retry import Attempts, Deadline, RetryPolicy
from rewardplane.security import ChannelSecurity
from rewardplane.splitting import LARGEST_MESSAGE_BYTES
from rewardplane.tls import TlsFiles

ChannelOptions = Sequence[tuple[str, Any]]

CHANNEL_OPTIONS: dict[str, Any] = {
    "grpc.max_receive_message_length": LARGEST_MESSAGE_BYTES,
    "grpc.max_send_message_length": LARGEST_MESSAGE_BYTES,
    # A refusal that names hundreds of bad pairs is longer than the default of 8 KiB.
    "grpc.max_metadata_size": 1 << 16,
    # The default, pick_first, sends everything to one replica of a headless Service.
    "grpc.service_config": json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}),
    "grpc.service_config_disable_resolution": 1,
    # With the default of 30 s, round_robin lost 2,624 of 6,143 calls while replicas were replaced one by one;
    # with 1 s none of 4,884.
    "grpc.dns_min_time_between_resolutions_ms": 1000,
    # One set of retries, ours: it knows the deadline of the whole call, RetryInfo and the other targets.
    "grpc.enable_retries": 0,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 5000,
    # A node that vanished without a word is noticed 40 s into a call. Servers must permit pings this often.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 10_000,
}


class Session:
    """Base of Client and AsyncClient."""

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        timeout_s: float = 60.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str | bytes]] = (),
        tls: TlsFiles | None = None,
        token_file: Path | str | None = None,
        retry: RetryPolicy | None = None,
        options: ChannelOptions = (),
        tokenizer_fingerprint: str | None = None,
        max_requests_in_flight: int = 4,
    ) -> None:
        """Connects on the first call. Raises ValueError for settings that can never work.

        target: "host:port"; or a gRPC name such as "dns:///policy.rlhf.svc:8080" or
            "ipv4:10.0.0.1:80,10.0.0.2:80", whose addresses take turns; or a list of either, whose items take
            turns and stand in for each other
        timeout_s: the most seconds a call may take, with all its requests and retries
        credentials: of the channel (grpc.ssl_channel_credentials(...)); None is plain text
        metadata: sent with each request: (("authorization", "Bearer ..."),)
        tls: in place of credentials, files; when they are replaced, new channels are opened
        token_file: holds a bearer token, which is sent with each request; it may be replaced, too
        retry: how to wait before trying again; None is RetryPolicy()
        options: gRPC channel options; they override CHANNEL_OPTIONS
        tokenizer_fingerprint: of the tokenizer that token ids, sent or generated, belong to; None is the first
            one that the server reports
        max_requests_in_flight: of one call that takes several requests
        """
        self._targets = (target,) if isinstance(target, str) else tuple(target)
        if not self._targets or not all(self._targets):
            raise ValueError(f"target is {target!r}; wanted is 'host:port' or a list of these")
        if max_requests_in_flight < 1:
            raise ValueError(f"max_requests_in_flight is {max_requests_in_flight}; wanted is 1 or more")
        Deadline(timeout_s)  # raises here rather than on the first call
        self._timeout_s = timeout_s
        self._security = ChannelSecurity(credentials, metadata, tls, token_file)
        self._retry = retry or RetryPolicy()
        self._options = tuple({**CHANNEL_OPTIONS, **self._security.options, **dict(options)}.items())
        self._max_requests_in_flight = max_requests_in_flight
        self._calls = Calls(tokenizer_fingerprint)
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self._channels: dict[str, Any] = {}
        self._retired: list[Any] = []  # channels of replaced credentials; calls under way end on them
        self._methods: dict[tuple[str, Rpc], Any] = {}
        self._closed = False

    def _open(self, target: str) -> Any:
        """Gives a channel of the subclass's kind."""
        raise NotImplementedError

    def _method(self, target: str, rpc: Rpc) -> Any:
        """Gives the callable for a method on a target, and opens the channel first if need be.

        Not in the constructor: a grpc.aio channel belongs to the event loop that runs when it is made.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("this client is closed")
            if self._security.changed():
                self._methods.clear()
                self._retired, self._channels = list(self._channels.values()), {}
            if (target, rpc) not in self._methods:
                if target not in self._channels:
                    self._channels[target] = self._open(target)
                self._methods[target, rpc] = self._channels[target].unary_unary(
                    rpc.path,
                    request_serializer=operator.methodcaller("SerializeToString"),
                    response_deserializer=rpc.reply.FromString,
                )
            return self._methods[target, rpc]

    def _close(self) -> list[Any]:
        """Refuses calls from now on, and gives the channels to close."""
        with self._lock:
            self._closed = True
            self._methods.clear()
            channels, self._channels = [*self._retired, *self._channels.values()], {}
        return channels

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return Deadline(self._timeout_s if timeout_s is None else timeout_s)

    def _attempts(self, deadline: Deadline, first_index: int) -> Attempts:
        first = next(self._turn) % len(self._targets)
        in_turn = self._targets[first:] + self._targets[:first]
        return Attempts(self._retry, in_turn, deadline, first_index)
