"""What is never loaded: pickles, code, adapters, and what leads out of the directory."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from tiny_models import save_tiny

from rewardplane.modeling.checkpoint import BadCheckpoint, read_manifest
from rewardplane.modeling.models import load_causal_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "policy-3"
    save_tiny(directory, "policy", policy_version=3)
    return directory


@pytest.fixture
def copied(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "policy-3")
    return tmp_path / "policy-3"


def without_manifest(directory):
    (directory / "manifest.json").unlink()
    return directory


def rewritten(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def manifest_again(directory, **files):
    """A manifest with right digests for whatever is there, as an attacker would write it."""
    path = directory / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        manifest["files"][name] = hashlib.sha256((directory / name).read_bytes()).hexdigest()
    manifest["files"].update(files)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl"])
def test_pickled_weights_are_refused_by_name(copied, name):
    without_manifest(copied)
    (copied / "model.safetensors").rename(copied / name)
    with pytest.raises(BadCheckpoint, match=f"weights in {name}, and only safetensors"):
        load_causal_model(copied, torch.float32)


def test_a_pickle_beside_safetensors_is_never_read(copied):
    (copied / "training_args.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    load_causal_model(copied, torch.float32)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_is_refused(copied, name):
    (copied / "modeling_evil.py").write_text("raise SystemExit('ran')")
    rewritten(copied / name, auto_map={"AutoModelForCausalLM": "modeling_evil.Evil"})
    manifest_again(copied)
    with pytest.raises(BadCheckpoint, match=f"{name} asks for code of its own"):
        load_causal_model(copied, torch.float32)


def test_an_adapter_is_refused(copied):
    (copied / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    without_manifest(copied)
    with pytest.raises(BadCheckpoint, match="merge it first"):
        load_causal_model(copied, torch.float32)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "a/b.json", "..", "", "a\0b"])
def test_a_manifest_names_files_and_no_paths(copied, name):
    manifest_again(copied, **{name: "0" * 64})
    with pytest.raises(BadCheckpoint, match="not a plain name"):
        read_manifest(copied)


def test_a_link_out_of_the_checkpoint_is_refused(copied, tmp_path):
    (copied / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    (copied / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors is a link that leads out"):
        read_manifest(copied)


def test_a_link_to_the_checkpoint_itself_is_followed(copied, tmp_path):
    (tmp_path / "current").symlink_to(copied)
    assert read_manifest(tmp_path / "current").policy_version == 3


def test_shards_are_files_of_the_checkpoint(copied):
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "../outside.safetensors"}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    without_manifest(copied)
    with pytest.raises(BadCheckpoint, match="not a plain name"):
        load_causal_model(copied, torch.float32)


@pytest.mark.parametrize("content", ["[]", "{}", '{"files": 3}', "null", '"x"', "{"])
def test_what_is_no_manifest_is_refused(copied, content):
    (copied / "manifest.json").write_text(content)
    with pytest.raises(BadCheckpoint, match="is not a manifest"):
        read_manifest(copied)


@pytest.mark.parametrize("files", [3, [], ["config.json"], "config.json", None])
def test_a_manifest_whose_files_are_no_table_is_refused(copied, files):
    rewritten(copied / "manifest.json", files=files)
    with pytest.raises(BadCheckpoint, match="is not a manifest"):
        read_manifest(copied)
