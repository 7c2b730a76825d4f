"""Checkpoints: Hugging Face directories with a manifest that names every byte.

`manifest.json` holds the SHA-256 of each file; the checkpoint's digest is the SHA-256 of the manifest. A
checkpoint appears under its name in one rename, so a directory with that name is always whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from .confined import BadCheckpoint as BadCheckpoint
from .confined import check_confined, check_names, check_no_way_out
from .durable import appearing_whole, disk_errors

Kind = Literal["sft", "reward", "policy", "value"]

MANIFEST = "manifest.json"
LOADED_SUFFIXES = (".safetensors", ".json", ".model", ".txt", ".jinja")
"""The files of a plain Hugging Face directory that its digest covers."""


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint is. Equal digests are equal weights, tokenizer and configuration."""

    model_name: str
    kind: Kind | None
    """None for a plain Hugging Face directory, which does not say."""
    policy_version: int
    """PPO updates behind the weights; 0 for models PPO did not touch."""
    tokenizer_fingerprint: str
    files: Mapping[str, str]
    """SHA-256 of each file, hex."""
    format: int = 1
    digest: str = field(default="", compare=False)
    """Hex SHA-256 of the manifest's bytes."""

    def to_bytes(self) -> bytes:
        content = {name: value for name, value in asdict(self).items() if name != "digest"}
        return (json.dumps(content, sort_keys=True, indent=1) + "\n").encode()


def save_checkpoint(
    directory: Path,
    model: Any,  # a transformers PreTrainedModel
    tokenizer: Any,
    *,
    tokenizer_fingerprint: str,
    model_name: str,
    kind: Kind,
    policy_version: int = 0,
    seal: Callable[[Path], None] | None = None,
) -> Manifest:
    """Writes the model, its tokenizer and a manifest; `seal` may sign them before they appear.

    Raises FileExistsError: checkpoints never change.
    """
    directory = Path(directory)
    if directory.exists():
        raise FileExistsError(f"{directory} exists, and a checkpoint is never overwritten: remove it or choose another")
    with appearing_whole(directory) as staging:
        with disk_errors(staging):
            model.save_pretrained(staging, safe_serialization=True)
        tokenizer.save_pretrained(staging)
        manifest = Manifest(model_name, kind, policy_version, tokenizer_fingerprint, _hash_files(staging))
        content = manifest.to_bytes()
        (staging / MANIFEST).write_bytes(content)
        if seal:
            seal(staging)
    return _with_digest(manifest, content)


def read_manifest(directory: Path) -> Manifest:
    """Reads and verifies a checkpoint's manifest, or makes one for a plain Hugging Face directory.

    One that is made has no tokenizer fingerprint. Raises BadCheckpoint when the directory holds no model, when a
    file's bytes differ from the manifest, and for what is never loaded: pickles, code, links that lead out.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise BadCheckpoint(f"{directory} holds no config.json: not a Hugging Face model directory")
    path = directory / MANIFEST
    if not path.is_file():
        check_confined(directory)
        manifest = Manifest(directory.resolve().name, None, 0, "", _hash_files(directory))
        return _with_digest(manifest, manifest.to_bytes())
    content = path.read_bytes()
    try:
        manifest = Manifest(**json.loads(content))
        files = dict(manifest.files.items())
    except (ValueError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{path} is not a manifest: {error}") from error
    check_names(path, files)
    check_no_way_out(directory, (MANIFEST, *files))
    found = _hash_files(directory)
    wrong = sorted(name for name in {*files, *found} if files.get(name) != found.get(name))
    if wrong:
        raise BadCheckpoint(f"{directory} is torn or was changed: {', '.join(wrong)} differ from {MANIFEST}")
    check_confined(directory)
    return _with_digest(manifest, content)


def _with_digest(manifest: Manifest, content: bytes) -> Manifest:
    values = {name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}
    return Manifest(**{**values, "digest": hashlib.sha256(content).hexdigest()})


def _hash_files(directory: Path) -> dict[str, str]:
    files = sorted(p for p in directory.iterdir() if p.suffix in LOADED_SUFFIXES and p.name != MANIFEST)
    return {p.name: _sha256(p) for p in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
