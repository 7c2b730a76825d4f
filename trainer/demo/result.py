"""What a demo run found: the one value that the terminal table, the README and report.html are made from."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "rewardplane", "torch", "transformers", "tokenizers", "grpcio", "protobuf", "tritonclient", "numpy",
    "scikit-learn", "vaderSentiment",
)  # fmt: skip


@dataclass(frozen=True)
class ResultTable:
    title: str
    columns: tuple[str, ...]  # the first column names the row, the others hold numbers
    rows: tuple[tuple[str, ...], ...]  # as many cells as columns
    note: str = ""  # how the numbers were made, in a sentence or two

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title!r} has {len(self.columns)} columns, but {row} has {len(row)}")


@dataclass(frozen=True)
class MetricLog:
    name: str  # as the legend shows it
    directory: Path  # of the run, with its metrics.jsonl


@dataclass(frozen=True)
class Sample:
    """Answers to one held-out question, before and after PPO; compound is the lexicon's score, -1..1."""

    question: str
    before: str
    after: str
    compound_before: float
    compound_after: float


@dataclass(frozen=True)
class DemoResult:
    title: str
    summary: str  # one sentence or two above everything else
    tables: tuple[ResultTable, ...]
    sft_log: MetricLog
    reward_log: MetricLog
    ppo_logs: tuple[MetricLog, ...]  # the run first, then what is laid over it: the control
    samples: tuple[Sample, ...]
    configuration: tuple[tuple[str, str], ...]  # (part, its settings as TOML)
    versions: tuple[tuple[str, str], ...]  # (name, version or description)

    def __post_init__(self) -> None:
        if not self.ppo_logs:
            raise ValueError("a demo result needs the metrics of its PPO run")


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
