"""What the device itself can do, measured in the same call as everything else."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
from gpu_parts.clock import seconds

PACKAGES = ("torch", "transformers", "triton")


@dataclass(frozen=True)
class Ceilings:
    flops_per_s: float
    """Of a bf16 matrix product of random numbers."""
    bytes_per_s: float
    """Of a copy on the device, bytes read and bytes written."""


def measure(device: str) -> dict[str, object]:
    """8192 x 8192 x 8192, and 2 GiB; small ones on a CPU."""
    side, size = (8192, 2 << 30) if device == "cuda" else (512, 16 << 20)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    product_s = seconds(lambda: a @ b, device, rounds=10, warm_up=3)
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = seconds(lambda: target.copy_(source), device, rounds=10, warm_up=3)
    row: dict[str, object] = {
        "case": "ceilings", "flops_per_s": 2.0 * side**3 / product_s, "bytes_per_s": 2.0 * size / copy_s,
        "chip": torch.cuda.get_device_name() if device == "cuda" else "CPU", "cuda": torch.version.cuda or "",
    }  # fmt: skip
    for name in PACKAGES:
        try:
            row[name] = version(name)
        except PackageNotFoundError:
            row[name] = "none"
    return row
