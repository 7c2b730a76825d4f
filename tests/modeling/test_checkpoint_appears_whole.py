"""A checkpoint appears under its name whole or not at all, and never changes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_model, make_tokenizer

from rewardplane.modeling.checkpoint import Manifest, read_manifest, save_checkpoint


def save(directory: Path, model: Any, tokenizer: Any) -> Manifest:
    return save_checkpoint(
        directory, model, tokenizer, tokenizer_fingerprint="f", model_name="tiny", kind="sft", policy_version=0
    )


def test_an_existing_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    manifest = save(tmp_path / "sft", make_model("sft"), make_tokenizer())
    with pytest.raises(FileExistsError, match="never overwritten"):
        save(tmp_path / "sft", make_model("sft", seed=9), make_tokenizer())
    assert read_manifest(tmp_path / "sft") == manifest
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileExistsError, match="never overwritten"):
        save(tmp_path / "empty", make_model("sft"), make_tokenizer())


class FullDisk:
    def save_pretrained(self, directory: Path) -> None:
        raise OSError(28, "No space left on device", str(directory))


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "sft", make_model("sft"), FullDisk())
    assert list(tmp_path.iterdir()) == []


# A process that saves, and stops for good at one moment of it. Its model and tokenizer are files of bytes.
SAVING = """
import os, sys, time
from pathlib import Path
from rewardplane.modeling.checkpoint import save_checkpoint

target, moment = Path(sys.argv[1]), sys.argv[2]

def reach(name):
    if name == moment:
        print("halfway", flush=True)
        time.sleep(60)

class Files:
    def __init__(self, name):
        self.name = name
    def save_pretrained(self, directory, **options):
        with (directory / f"{self.name}.json").open("w") as file:
            file.write("{}" + " " * 100_000)
            reach(self.name)

rename = os.rename
os.rename = lambda *names: (reach("rename"), rename(*names))
save_checkpoint(target, Files("config"), Files("tokenizer"), tokenizer_fingerprint="", model_name="m", kind="sft")
"""


@pytest.mark.parametrize("moment", ["config", "tokenizer", "rename"])
def test_kill_9_while_saving_leaves_nothing_under_the_name(tmp_path: Path, moment: str) -> None:
    target = tmp_path / "sft"
    with subprocess.Popen([sys.executable, "-c", SAVING, target, moment], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "halfway\n"
        process.kill()
    assert not target.exists()
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())  # where nobody looks for checkpoints
    # The same name can be saved to afterwards.
    assert save(target, make_model("sft"), make_tokenizer()).digest == read_manifest(target).digest
