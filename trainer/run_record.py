"""run.json: what a run was told, and what it was made with; as it was last started."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .config import Section
from .versions import collect_versions

RUN = "run.json"

Kind = Literal["sft", "reward", "ppo"]


@dataclass(frozen=True)
class RunRecord:
    kind: Kind
    updates: int
    """That the run is to have."""
    configuration: dict[str, Any]
    versions: dict[str, str]


def write_record(directory: Path, kind: Kind, updates: int, config: Section) -> None:
    """Makes the directory if need be; the file appears whole."""
    directory.mkdir(parents=True, exist_ok=True)
    record = RunRecord(kind, updates, json.loads(config.model_dump_json()), dict(collect_versions()))
    descriptor, staging = tempfile.mkstemp(prefix=f".{RUN}.", dir=directory)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record), indent=1) + "\n")
    os.chmod(staging, 0o644)  # mkstemp's is for the owner alone
    os.replace(staging, directory / RUN)


def read_record(directory: Path) -> RunRecord | None:
    """None for a run of a version that wrote none."""
    path = directory / RUN
    return RunRecord(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None
