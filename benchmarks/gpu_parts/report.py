"""Runs the parts and writes down what they found."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from gpu_parts.ceilings import measure_ceilings
from gpu_parts.parts import Parts
from result_file import Bar, write_results


def report(names: Sequence[str], device: str, *, tiny: bool) -> None:
    """A row for each case as soon as it is known; the last line is JSON with the bars."""
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("gpu.py: torch finds no CUDA device; --device cpu --tiny tries the script")
    ceilings = measure_ceilings(device)
    rows: list[dict[str, object]] = [
        {"case": "ceilings", "flops_per_s": ceilings.flops_per_s, "bytes_per_s": ceilings.bytes_per_s}
    ]
    bars: list[Bar] = []
    notes = []
    with tempfile.TemporaryDirectory() as directory:
        parts = Parts(device, tiny, ceilings, Path(directory))
        for name in names:
            try:
                found, judged = getattr(parts, name)()
            except ModuleNotFoundError as error:
                notes.append(f"`{name}` did not run: {error.name} is not installed.")
                continue
            rows += found
            bars += judged
            for row in found:
                print(json.dumps(row), flush=True)
            if device == "cuda":
                torch.cuda.empty_cache()
    if not tiny:
        chip = torch.cuda.get_device_name() if device == "cuda" else "CPU"
        notes.append(f"{chip}, torch {torch.__version__}.")
        path = write_results("gpu", f"python {' '.join(sys.argv)}", rows, bars, " ".join(notes))
        print(path.with_suffix(".md").read_text())
    print(json.dumps({"bars": {bar.name: [bar.value, bar.goal, bar.holds] for bar in bars}, "notes": notes}))
