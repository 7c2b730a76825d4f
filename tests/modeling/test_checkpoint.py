"""Checkpoints name every byte: what was changed, torn or is something else is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import make_model, save_tiny

from rewardplane.modeling.checkpoint import BadCheckpoint, read_manifest
from rewardplane.modeling.models import load_causal_model, load_reward_model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("saved") / "policy-3"
    save_tiny(directory, "policy", policy_version=3)
    return directory


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    directory = tmp_path / "policy-3"
    directory.mkdir()
    for path in saved.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    return directory


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_manifest_names_every_file_by_its_sha256(saved: Path) -> None:
    manifest = read_manifest(saved)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in saved.iterdir()}
    assert manifest.digest == files.pop("manifest.json")
    assert manifest.files == files
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert (manifest.model_name, manifest.kind, manifest.policy_version) == ("policy-3", "policy", 3)


def test_what_is_saved_is_what_is_read_and_loads(saved: Path, tmp_path: Path) -> None:
    manifest = save_tiny(tmp_path / "policy-3", "policy", policy_version=3)
    assert read_manifest(tmp_path / "policy-3") == manifest
    assert manifest.digest == read_manifest(saved).digest  # the same model, saved twice
    loaded = load_causal_model(tmp_path / "policy-3", torch.float32)
    assert loaded.manifest.digest == manifest.digest
    assert loaded.encoder.fingerprint == manifest.tokenizer_fingerprint
    for (name, found), (_, expected) in zip(
        loaded.model.named_parameters(), make_model("policy").named_parameters(), strict=True
    ):
        assert torch.equal(found, expected), name


@pytest.mark.parametrize("other", [{"seed": 1}, {"policy_version": 4}, {"chat": True}, {"rms_norm_eps": 1e-5}])
def test_other_weights_number_tokenizer_or_configuration_have_another_digest(
    saved: Path, tmp_path: Path, other: dict[str, Any]
) -> None:
    manifest = save_tiny(tmp_path / "policy-3", "policy", **{"policy_version": 3, **other})
    assert manifest.digest != read_manifest(saved).digest


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("place", [0, -1])
def test_any_changed_byte_is_refused_and_its_file_named(copied: Path, name: str, place: int) -> None:
    flip(copied / name, place)
    with pytest.raises(BadCheckpoint, match=f"was changed: {name} differ"):
        read_manifest(copied)


def test_torn_missing_and_added_files_are_refused_and_named(copied: Path) -> None:
    weights = copied / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match=r"torn or was changed: model\.safetensors differ"):
        read_manifest(copied)
    weights.unlink()
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors differ"):
        read_manifest(copied)
    weights.write_bytes(whole)
    (copied / "chat_template.jinja").write_text("{{ 1 }}")
    with pytest.raises(BadCheckpoint, match=r"chat_template\.jinja differ"):
        read_manifest(copied)


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"model_name": "a", "unknown": 1}'])
def test_a_manifest_that_is_none_is_refused(copied: Path, content: str) -> None:
    (copied / "manifest.json").write_text(content)
    with pytest.raises(BadCheckpoint, match=r"manifest\.json is not a manifest"):
        read_manifest(copied)


def test_loading_refuses_changed_weights(copied: Path) -> None:
    flip(copied / "model.safetensors", -1)
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors differ"):
        load_causal_model(copied, torch.float32)


def test_loading_refuses_torn_weights(copied: Path) -> None:
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors differ"):
        load_causal_model(copied, torch.float32)


def test_loading_what_is_not_there_asks_no_hub(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match="nothing"):
        load_causal_model(tmp_path / "nothing", torch.float32)


def test_a_plain_hugging_face_directory_works_and_its_digest_covers_its_bytes(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    (copied / "README.md").write_text("no part of the model")
    first = load_causal_model(copied, torch.float32)
    assert first.manifest.kind is None
    assert first.manifest.model_name == "policy-3"
    assert first.manifest.tokenizer_fingerprint == first.encoder.fingerprint
    (copied / "README.md").write_text("still no part of it")
    assert load_causal_model(copied, torch.float32).manifest.digest == first.manifest.digest
    flip(copied / "model.safetensors", -1)
    assert load_causal_model(copied, torch.float32).manifest.digest != first.manifest.digest


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"no config\.json"):
        read_manifest(tmp_path)


def test_each_loader_refuses_the_other_kind_by_architecture(saved: Path, tmp_path: Path) -> None:
    save_tiny(tmp_path / "reward", "reward")
    with pytest.raises(BadCheckpoint, match="LlamaForSequenceClassification; a causal"):
        load_causal_model(tmp_path / "reward", torch.float32)
    with pytest.raises(BadCheckpoint, match=r"LlamaForCausalLM .* a reward model is"):
        load_reward_model(saved, torch.float32)


def test_manifest_json_reads_without_this_package(saved: Path) -> None:
    content = json.loads((saved / "manifest.json").read_text())
    assert set(content) == {"model_name", "kind", "policy_version", "tokenizer_fingerprint", "files", "format"}
