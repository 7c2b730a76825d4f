"""The memory of the device that computes, as a metric of servers and trainers."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

KIBIBYTE = 1024
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class DeviceMemory:
    """Bytes."""

    used: int
    """By this process: what torch has reserved on a GPU; on a CPU, resident memory."""
    peak: int
    """The most that `used` has been."""
    total: int
    """Of the device; on a CPU the container's limit, where it has one."""


def device_memory(device: torch.device) -> DeviceMemory:
    if device.type == "cuda":
        return DeviceMemory(
            torch.cuda.memory_reserved(device),
            torch.cuda.max_memory_reserved(device),
            torch.cuda.get_device_properties(device).total_memory,
        )
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    page_bytes = resource.getpagesize()
    used = pages * page_bytes
    peak = max(used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE)
    return DeviceMemory(used, peak, _host_memory())


def free_memory(device: torch.device) -> int:
    """Bytes that this process may still take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    memory = device_memory(device)
    return memory.total - memory.used


def _host_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    total = next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:")) * KIBIBYTE
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    return total if limit == "max" else min(total, int(limit))


class DeviceMemoryCollector(Collector):
    """`rewardplane_device_memory_bytes`, read when it is asked for."""

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)

    def collect(self) -> Iterable[Metric]:
        memory = device_memory(self._device)
        family = GaugeMetricFamily(
            "rewardplane_device_memory_bytes", "Memory of the device that computes", labels=["kind"]
        )
        family.add_metric(["used"], memory.used)
        family.add_metric(["peak"], memory.peak)
        family.add_metric(["total"], memory.total)
        yield family
