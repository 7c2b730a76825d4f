"""Which versions a run was made with, and on what."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "rewardplane", "torch", "transformers", "tokenizers", "grpcio", "protobuf", "tritonclient", "numpy",
    "scikit-learn", "vaderSentiment",
)  # fmt: skip


def collect_versions() -> tuple[tuple[str, str], ...]:
    """Names the interpreter, the packages that matter, and the machine without its name."""
    packages = []
    for name in PACKAGES:
        try:
            packages.append((name, version(name)))
        except PackageNotFoundError:
            continue
    machine = f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"
    return (("Python", platform.python_version()), *packages, ("machine", machine))


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
