"""Runs each part in a process of its own and writes down what they found, after each of them."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from gpu_parts.forked import forked
from gpu_parts.parts import Parts, run_part
from result_file import RESULTS, Bar, write_results

NAMES = ("correctness", "scoring", "sharing", "head", "sampling", "precision", "served", "ppo", "paged")
"""In order of what is to be known first."""


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


def report(parts: Parts, names: Sequence[str], limits: Limits, *, out: Path | None, commit: str | None) -> None:
    """A row for each case as soon as it is known; the last line is JSON with the bars."""
    began = time.monotonic()
    found = Found()
    _run("ceilings", parts, limits.part_seconds, found)
    if not found.rows:
        sys.stdout.write(f"gpu.py measures nothing: {' '.join(found.notes)}\n")
        return
    for name in names:
        left = limits.seconds - (time.monotonic() - began)
        if left <= 0:
            found.notes.append(f"`{name}` was left out: {limits.seconds:.0f} s were over.")
            continue
        _run(name, replace(parts, measured=found.rows[0]), min(left, limits.part_seconds), found)
        _write(found, parts.tiny, out, commit)
    path = _write(found, parts.tiny, out, commit)
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


def _run(name: str, parts: Parts, limit_s: float, found: Found) -> None:
    """Takes what the part says, line by line, until it ends or its time is over."""
    began = time.monotonic()
    with forked(lambda: run_part(name, parts)) as part:
        over = threading.Timer(limit_s, part.end)
        over.start()
        for record in _records(part.output):
            if "bar" in record:
                found.bars.append(Bar(**record["bar"]))  # type: ignore[arg-type]
            else:
                found.rows.append(record)
            sys.stdout.write(json.dumps(record) + "\n")
            sys.stdout.flush()
        status = part.wait()
        over.cancel()
        text = part.errors()
    seconds = time.monotonic() - began
    sys.stdout.write(json.dumps({"part": name, "seconds": round(seconds, 1), "status": status}) + "\n")
    sys.stdout.flush()
    if status:
        sys.stdout.write(text[-3000:])
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
        why = "was ended when its time was over" if seconds >= limit_s else f"failed: {last[-300:]}"
        found.notes.append(f"`{name}` {why}.")


def _records(lines: Iterable[str]) -> Iterator[dict[str, dict[str, object]]]:
    """Objects among whatever else the part prints."""
    for line in lines:
        if line.startswith("{"):
            yield json.loads(line)
