"""A channel to a server of KServe v2, opened anew when its certificates are replaced."""

from __future__ import annotations

import threading
from typing import Any

import grpc
from tritonclient.grpc import service_pb2_grpc

from rewardplane.security import ChannelSecurity
from rewardplane.session import CHANNEL_OPTIONS


class SecuredChannel:
    """Threads may share it."""

    def __init__(self, address: str, security: ChannelSecurity) -> None:
        self._address = address
        self._security = security
        self._options = tuple({**CHANNEL_OPTIONS, **security.options}.items())
        self._lock = threading.Lock()
        self._channels: list[grpc.Channel] = []  # the newest last; calls under way end on the one before
        self._stub: Any = None

    def call(self, method: str, request: Any, *, timeout_s: float) -> Any:
        """The reply to one RPC. Raises grpc.RpcError, Unavailable and Unauthenticated."""
        metadata = self._security.metadata()
        return getattr(self._opened(), method)(request, timeout=timeout_s, metadata=metadata)

    def close(self) -> None:
        with self._lock:
            for channel in self._channels:
                channel.close()

    def _opened(self) -> Any:
        with self._lock:
            if self._stub is None or self._security.changed():
                credentials = self._security.credentials()
                if credentials is None:
                    channel = grpc.insecure_channel(self._address, self._options)
                else:
                    channel = grpc.secure_channel(self._address, credentials, self._options)
                self._channels = [*self._channels[-1:], channel]
                self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            return self._stub
