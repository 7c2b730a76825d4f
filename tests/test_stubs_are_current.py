"""The committed stubs are what the compiler makes of proto/ today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="needs grpcio-tools, of the extra `dev`")

ROOT = Path(__file__).parents[1]
STUBS = ROOT / "rewardplane" / "v1"


def test_stubs_are_what_the_compiler_makes_of_the_protos(tmp_path):
    protos = [str(path.relative_to(ROOT / "proto")) for path in ROOT.glob("proto/rewardplane/v1/*.proto")]
    assert protos
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *outputs, *protos], check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "rewardplane" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in STUBS.glob("*_pb2*")}
    assert sorted(committed) == sorted(made)
    stale = [name for name, text in made.items() if committed[name] != text]
    assert not stale, f"run `make proto`: {stale}"
