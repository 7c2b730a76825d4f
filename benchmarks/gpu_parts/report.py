"""Runs each part in a process of its own and writes down what they found, after each of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from result_file import RESULTS, Bar, write_results

SCRIPT = Path(__file__).parents[1] / "gpu.py"
NAMES = ("correctness", "scoring", "sharing", "head", "sampling", "precision", "served", "ppo")
"""In order of what is to be known first."""
NO_DEVICE = "torch finds no CUDA device"


@dataclass(frozen=True)
class Limits:
    seconds: float
    """Of the whole run."""
    part_seconds: float
    """Of one part."""


@dataclass
class Found:
    """What is known so far."""

    rows: list[dict[str, object]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def report(
    names: Sequence[str], device: str, limits: Limits, *, tiny: bool, out: Path | None, commit: str | None
) -> None:
    """A row for each case as soon as it is known; the last line is JSON with the bars."""
    began = time.monotonic()
    found = Found()
    options = ["--device", device, *(["--tiny"] if tiny else [])]
    _run("ceilings", options, limits.part_seconds, found)
    if not found.rows:
        sys.stdout.write(f"gpu.py measures nothing: {' '.join(found.notes)}\n")
        return
    ceilings = found.rows[0]
    options += ["--ceilings", str(ceilings["flops_per_s"]), str(ceilings["bytes_per_s"])]
    for name in names:
        left = limits.seconds - (time.monotonic() - began)
        if left <= 0:
            found.notes.append(f"`{name}` was left out: {limits.seconds:.0f} s were over.")
            continue
        _run(name, options, min(left, limits.part_seconds), found)
        _write(found, tiny, out, commit)
    path = _write(found, tiny, out, commit)
    if path:
        sys.stdout.write(path.with_suffix(".md").read_text())
    bars = {bar.name: [bar.value, bar.goal, bar.holds] for bar in found.bars}
    sys.stdout.write(json.dumps({"bars": bars, "notes": found.notes}) + "\n")


def _write(found: Found, tiny: bool, out: Path | None, commit: str | None) -> Path | None:
    if tiny and out is None:
        return None
    command = f"python benchmarks/gpu.py {' '.join(sys.argv[1:])}".strip()
    return write_results(
        "gpu", command, found.rows, found.bars, " ".join(found.notes), directory=out or RESULTS, commit=commit
    )


def _run(name: str, options: Sequence[str], limit_s: float, found: Found) -> None:
    """Takes what the part says, line by line, until it ends or its time is over."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        part = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--only", name, *options],
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip
        over = threading.Timer(limit_s, _end_all, [part])
        over.start()
        assert part.stdout is not None
        for record in _records(part.stdout):
            if "bar" in record:
                found.bars.append(Bar(**record["bar"]))  # type: ignore[arg-type]
            else:
                found.rows.append(record)
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        status = part.wait()
        over.cancel()
        _end_all(part)
        errors.seek(0)
        text = errors.read()
    seconds = time.monotonic() - began
    sys.stdout.write(json.dumps({"part": name, "seconds": round(seconds, 1), "status": status}) + "\n")
    if status:
        sys.stdout.write(text[-3000:])
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        why = "was ended when its time was over" if seconds >= limit_s else f"failed: {last[-300:]}"
        found.notes.append(f"`{name}` {why}.")


def _end_all(part: subprocess.Popen[str]) -> None:
    """The part, and the servers that it started."""
    with suppress(ProcessLookupError):
        os.killpg(part.pid, signal.SIGKILL)


def _records(lines: Iterator[str]) -> Iterator[dict[str, dict[str, object]]]:
    """Objects among whatever else the part prints."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)
