"""The GPU benchmark is a script for a machine without a network: what can be tried of it here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.timeout(300)
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
sys.path.insert(0, str(SCRIPT.parent))

from gpu_parts.shapes import SHAPES, random_model  # noqa: E402


def run(*arguments: str, out: Path, packages: Path | None = None) -> dict[str, Any]:
    """Gives the last line, which is all that is known."""
    environment = {**os.environ, "PYTHONPATH": str(packages or "")}
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def missing(directory: Path, *names: str) -> Path:
    """Packages that are not there."""
    for name in names:
        (directory / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name='{name}')")
    return directory


def test_it_runs_without_the_clients_of_triton_and_kubernetes(tmp_path: Path) -> None:
    packages = missing(tmp_path, "tritonclient", "kubernetes", "kserve")
    last = run("--parts", "correctness", "served", "ppo", out=tmp_path, packages=packages)
    assert last["notes"] == []
    holding = [name for name, (_, _, holds) in last["bars"].items() if holds]
    assert len([name for name in holding if "error" in name]) == 6
    assert len([name for name in holding if "answers" in name]) == 1
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert {bar["name"] for bar in written["bars"]} == last["bars"].keys()


def test_a_part_that_fails_or_lasts_takes_no_other_with_it(tmp_path: Path) -> None:
    packages = missing(tmp_path, "prometheus_client")
    last = run("--parts", "served", "head", out=tmp_path, packages=packages)
    assert "`served` failed: ModuleNotFoundError: No module named prometheus_client." in last["notes"]
    assert [name for name in last["bars"] if name.startswith("log-probs")]
    last = run("--parts", "head", "--seconds", "0", out=tmp_path)
    assert last["notes"] == ["`head` was left out: 0 s were over."]


def test_weights_that_are_counted_are_those_of_the_linear_layers() -> None:
    model = random_model(SHAPES["tiny"], causal=False, device="cpu", dtype=torch.float32, packed=False)
    linear = sum(p.numel() for name, p in model.named_parameters() if name.endswith("_proj.weight"))
    assert SHAPES["tiny"].linear_weights == linear


def test_flops_of_a_row() -> None:
    # Two tokens of one sequence see 1 and 2 keys; a token that continues three others sees 4: 7 in all.
    shape = SHAPES["tiny"]
    products = 2 * shape.linear_weights * 3
    attention = 4 * shape.layers * shape.hidden * 7
    assert shape.forward_flops([(2, 2), (1, 4)]) == products + attention
