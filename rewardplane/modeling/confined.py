"""What may not be in a directory that a model is loaded from: code, pickles, and ways out of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
"""Weights that are no safetensors; most of them run code when they are read."""
SETTINGS = ("config.json", "tokenizer_config.json", "generation_config.json", "processor_config.json")


class BadCheckpoint(ValueError):
    """A directory that is not a checkpoint, or whose bytes are not those of its manifest."""


def check_confined(directory: Path) -> None:
    """Raises BadCheckpoint, naming the file, for what is never loaded."""
    _check_weights(directory)
    if (directory / "adapter_config.json").exists():
        raise BadCheckpoint(f"{directory}/adapter_config.json: an adapter names its model elsewhere; merge it first")
    for name in SETTINGS:
        if (directory / name).is_file() and "auto_map" in _read_object(directory / name):
            raise BadCheckpoint(
                f"{directory}/{name} asks for code of its own (auto_map), which is never run: "
                "only models that transformers knows are loaded"
            )
    for index in directory.glob("*.safetensors.index.json"):
        shards = _read_object(index).get("weight_map", {})
        if not isinstance(shards, dict):
            raise BadCheckpoint(f"{index} has no weight_map")
        check_names(index, shards.values())


def check_names(source: Path | str, names: Iterable[object]) -> None:
    """Raises BadCheckpoint unless all are names of files beside `source`, and no paths."""
    for name in names:
        if not isinstance(name, str) or name != PurePosixPath(name).name or name in ("", "..") or "\0" in name:
            raise BadCheckpoint(f"{source} names the file {name!r}: not a plain name")


def check_no_way_out(directory: Path, names: Iterable[str]) -> None:
    """Raises BadCheckpoint for a link that leads out of the directory."""
    inside = directory.resolve()
    for name in names:
        if (directory / name).resolve().parent != inside:
            raise BadCheckpoint(f"{directory}/{name} is a link that leads out of the checkpoint")


def _check_weights(directory: Path) -> None:
    found = sorted(path.name for path in directory.iterdir())
    if any(name.endswith(".safetensors") for name in found):
        return
    if pickles := [name for name in found if name.endswith(PICKLES)]:
        raise BadCheckpoint(
            f"{directory} has its weights in {', '.join(pickles[:3])}, and only safetensors are loaded: "
            "convert them (save_pretrained writes safetensors)"
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadCheckpoint(f"{path} is no JSON object")
    return content
