"""The system shared memory extension: tensors that a client on the same machine leaves in /dev/shm.

Regions are read and written through file descriptors, never mapped: a client that shrinks a mapped region
would kill the server with SIGBUS. All of it is for peers on this machine only, see `settings.is_local`.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from rewardplane.errors import InvalidRequest, PermissionDenied, RewardplaneError

from .parameters import typed_value

DIRECTORY = Path("/dev/shm")
INT64 = ("int64_param",)


@dataclass(frozen=True)
class Region:
    """A part of a shared memory object that a client has registered under a name."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int

    def check(self, offset: int, byte_size: int) -> None:
        """Raises InvalidRequest unless `byte_size` bytes from `offset` lie in the region."""
        if not 0 <= offset < self.byte_size:
            raise _bad_region(f"Invalid offset for shared memory region: '{self.name}'")
        if byte_size < 0 or offset + byte_size > self.byte_size:
            raise _bad_region(f"Invalid offset + byte size for shared memory region: '{self.name}'")

    def read(self, offset: int, byte_size: int) -> bytes:
        """Raises InvalidRequest for a part outside the region, or cut off since it was registered."""
        self.check(offset, byte_size)
        data = os.pread(self.descriptor, byte_size, self.offset + offset)
        if len(data) < byte_size:
            raise _bad_region(f"shared memory region '{self.name}' has shrunk since it was registered")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Raises InvalidRequest as `read` does."""
        self.check(offset, len(data))
        if os.fstat(self.descriptor).st_size < self.offset + offset + len(data):
            raise _bad_region(f"shared memory region '{self.name}' has shrunk since it was registered")
        os.pwrite(self.descriptor, data, self.offset + offset)


class Regions:
    """The registered regions."""

    def __init__(self) -> None:
        self._regions: dict[str, Region] = {}

    def __getitem__(self, name: str) -> Region:
        """Raises NOT_FOUND."""
        if name not in self._regions:
            raise _not_found(f"Unable to find shared memory region: '{name}'")
        return self._regions[name]

    def register(self, request: Any) -> Any:
        """Answers a SystemSharedMemoryRegisterRequest. Raises InvalidRequest for what cannot be opened or is
        too short, ALREADY_EXISTS for a name that is taken."""
        if not request.name:
            raise _bad_region("a shared memory region needs a name")
        if request.name in self._regions:
            raise RewardplaneError(
                f"shared memory region '{request.name}' already in manager",
                reason="REGION_EXISTS",
                code=grpc.StatusCode.ALREADY_EXISTS,
            )
        descriptor = _open(request.key)
        size = os.fstat(descriptor).st_size
        if not request.byte_size or request.offset + request.byte_size > size:
            os.close(descriptor)
            raise _bad_region(
                f"Invalid shared memory region: '{request.key}' has {size} bytes; "
                f"{request.byte_size} from offset {request.offset} were to be registered"
            )
        self._regions[request.name] = Region(request.name, request.key, request.offset, request.byte_size, descriptor)
        return service_pb2.SystemSharedMemoryRegisterResponse()

    def unregister(self, request: Any) -> Any:
        """Answers a SystemSharedMemoryUnregisterRequest; no name means all, an unknown one is no error."""
        for name in [request.name] if request.name else list(self._regions):
            region = self._regions.pop(name, None)
            if region is not None:
                os.close(region.descriptor)
        return service_pb2.SystemSharedMemoryUnregisterResponse()

    def status(self, request: Any) -> Any:
        """Answers a SystemSharedMemoryStatusRequest; no name means all. Raises NOT_FOUND."""
        if request.name and request.name not in self._regions:
            raise _not_found(f"Unable to find system shared memory region: '{request.name}'")
        response = service_pb2.SystemSharedMemoryStatusResponse()
        for region in [self[request.name]] if request.name else self._regions.values():
            entry = response.regions[region.name]
            entry.name, entry.key = region.name, region.key
            entry.offset, entry.byte_size = region.offset, region.byte_size
        return response


def check_local(peer_is_local: bool) -> None:
    """Raises PermissionDenied: whoever may name memory of this machine may read and write it."""
    if not peer_is_local:
        raise PermissionDenied(
            "shared memory is for clients on the server's own machine (loopback address): "
            "send the tensors in the request",
            reason="NOT_LOCAL",
        )


def region_of(tensor: Any, regions: Regions, peer_is_local: bool) -> tuple[Region, int, int] | None:
    """The shared memory of an input or output tensor: (region, offset, byte size); None when it has none.

    Raises InvalidRequest for wrong parameters, PermissionDenied for peers elsewhere, and NOT_FOUND for
    unknown regions.
    """
    if "shared_memory_region" not in tensor.parameters:
        return None
    check_local(peer_is_local)
    where = f" for tensor '{tensor.name}'"
    name = typed_value(
        "shared_memory_region", tensor.parameters["shared_memory_region"], ("string_param",), where=where
    )
    if "shared_memory_byte_size" not in tensor.parameters:
        raise _bad_region(
            f"'shared_memory_byte_size' must be specified along with 'shared_memory_region' parameter{where}"
        )
    size = typed_value("shared_memory_byte_size", tensor.parameters["shared_memory_byte_size"], INT64, where=where)
    offset = 0
    if "shared_memory_offset" in tensor.parameters:
        offset = typed_value("shared_memory_offset", tensor.parameters["shared_memory_offset"], INT64, where=where)
    region = regions[name]
    region.check(offset, size)
    return region, offset, size


def _open(key: str) -> int:
    """Opens a shared memory object as shm_open does. Raises InvalidRequest for anything else."""
    name = key.removeprefix("/")
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise _bad_region(f"Unable to open shared memory region: '{key}' is no name of a shared memory object")
    try:
        descriptor = os.open(DIRECTORY / name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _bad_region(f"Unable to open shared memory region: '{key}': {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _bad_region(f"Unable to open shared memory region: '{key}' is no shared memory object")
    return descriptor


def _bad_region(message: str) -> InvalidRequest:
    return InvalidRequest(message, reason="INVALID_REGION")


def _not_found(message: str) -> RewardplaneError:
    return RewardplaneError(message, reason="UNKNOWN_REGION", code=grpc.StatusCode.NOT_FOUND)
