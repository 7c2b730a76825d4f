"""What is measured, at the sizes of a GPU or at those of a try on a CPU. Each part runs in a process of its own."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gpu_parts.ceilings import Ceilings, measure
from result_file import Bar

Records = Iterator[dict[str, object] | Bar]


def preload() -> None:
    """Imports once what every part would import; a part whose packages are missing says so itself."""
    for name in ("correctness", "scoring", "sampling", "head", "served", "ppo"):
        with suppress(ImportError):
            importlib.import_module(f"gpu_parts.{name}")


def run_part(name: str, parts: Parts) -> None:
    """Prints a JSON object for each row and each bar, as soon as it is known."""
    with tempfile.TemporaryDirectory() as directory:
        part: Callable[[], Records] = getattr(replace(parts, directory=Path(directory)), name)
        for record in part():
            content = {"bar": asdict(record)} if isinstance(record, Bar) else record
            sys.stdout.write(json.dumps(content) + "\n")
            sys.stdout.flush()


@dataclass(frozen=True)
class Parts:
    """One method a part, each of which imports what it needs."""

    device: str
    tiny: bool
    measured: Mapping[str, Any] = field(default_factory=dict)
    """What `ceilings` found."""
    directory: Path = Path()

    @property
    def limits(self) -> Ceilings:
        return Ceilings(self.measured["flops_per_s"], self.measured["bytes_per_s"])

    @property
    def row_tokens(self) -> int:
        return 1024 if self.tiny else 32768

    def ceilings(self) -> Records:
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("torch finds no CUDA device")
        yield measure(self.device)

    def correctness(self) -> Records:
        from gpu_parts.correctness import check

        yield from check(self.device)

    def scoring(self) -> Records:
        from gpu_parts.scoring import throughput

        yield from throughput(
            ["tiny"] if self.tiny else ["1B", "7B", "135M"], self.row_tokens, self.device, self.limits
        )

    def sharing(self) -> Records:
        from gpu_parts.scoring import sharing

        if self.tiny:
            yield from sharing("tiny", 4, self.device, (128, 16))
        else:
            yield from sharing("1B", 32, self.device)

    def precision(self) -> Records:
        from gpu_parts.scoring import precision

        yield from precision("tiny" if self.tiny else "1B", 4 if self.tiny else 256, self.device)

    def head(self) -> Records:
        from gpu_parts.head import log_probs, trained

        yield from log_probs(*((256, 512, 64) if self.tiny else (65536, 128256, 2048)), self.device)
        yield from trained(*((64, 512, 64) if self.tiny else (8192, 128256, 2048)), self.device)

    def sampling(self) -> Records:
        from gpu_parts.sampling import sampling

        if self.tiny:
            yield from sampling("tiny", [4, 1], 8, self.device, self.limits)
        else:
            yield from sampling("1B", [256, 32, 1], 128, self.device, self.limits)
            yield from sampling("7B", [256], 128, self.device, self.limits, modules=False)

    def paged(self) -> Records:
        from gpu_parts.sampling import paged

        if self.device == "cuda":  # its cache would take most of a CPU's memory
            yield from paged("1B", 256, 128, self.device, self.limits)

    def served(self) -> Records:
        from gpu_parts.served import over_grpc

        yield from over_grpc(
            self.directory, "tiny" if self.tiny else "1B", self.row_tokens, 2 if self.tiny else 16, self.device
        )

    def ppo(self) -> Records:
        from gpu_parts.ppo import updates

        name, questions, tokens = ("tiny", 8, 8) if self.tiny else ("1B", 128, 128)
        yield from updates(name, questions, tokens, self.device, self.directory)
