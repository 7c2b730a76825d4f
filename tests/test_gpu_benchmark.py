"""The GPU benchmark is a script for a machine without a network: what can be tried of it here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
sys.path.insert(0, str(SCRIPT.parent))

from gpu_parts.shapes import SHAPES, random_model  # noqa: E402


def test_it_runs_without_the_clients_of_triton_and_kubernetes() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['tritonclient', 'kubernetes', 'kserve']))"
    run = "import runpy; sys.argv = ['gpu.py', *'--device cpu --tiny --parts correctness served ppo'.split()]; "
    run += f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", f"{blocked}; {run}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["notes"] == []
    assert len([name for name, (_, _, holds) in last["bars"].items() if holds and "error" in name]) == 4


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
