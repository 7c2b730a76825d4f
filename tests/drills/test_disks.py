"""A server whose disk is read-only or full, and checkpoints with one byte that is not what it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import rpc
from leaks import wait_for
from peer_forward import peer_score
from servers import served
from small_disk import small_disk
from tiny_models import make_tokenizer, save_tiny

from rewardplane.modeling.checkpoint import MANIFEST, BadCheckpoint

TEXTS = ("What did you think of it?", "It was long.")


def expected_score(directory: Path) -> object:
    tokenizer = make_tokenizer()
    question, answer = (tokenizer(text, add_special_tokens=i == 0)["input_ids"] for i, text in enumerate(TEXTS))
    return pytest.approx(peer_score(directory, [(question, [*answer, tokenizer.eos_token_id])])[0], abs=1e-5)


def test_a_server_needs_no_disk_to_write_on(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        save_tiny(disk.path / "reward", "reward", seed=4)
        expected = expected_score(disk.path / "reward")
        disk.read_only()
        with served("reward", disk.path / "reward", follow_seconds=0.05) as server:
            assert rpc.score(server.channel, [rpc.text(*TEXTS)]).scores[0] == expected


def test_a_checkpoint_that_a_full_disk_cut_off_is_not_taken(tmp_path: Path) -> None:
    """Whoever copies without a rename leaves a torn directory; the server says so and goes on with the old one."""
    save_tiny(tmp_path / "policy-2", "policy", seed=2, policy_version=2)
    with small_disk(tmp_path / "disk") as disk:
        save_tiny(disk.path / "policy-1", "policy", seed=1, policy_version=1)
        with served("policy", disk.path, follow_seconds=0.05) as server:
            before = rpc.score(server.channel, [rpc.text(*TEXTS)])
            (disk.path / "policy-2").mkdir()
            shutil.copy(tmp_path / "policy-2" / MANIFEST, disk.path / "policy-2")
            shutil.copy(tmp_path / "policy-2" / "config.json", disk.path / "policy-2")
            disk.fill()
            with pytest.raises(OSError, match="No space left"):
                shutil.copy(tmp_path / "policy-2" / "model.safetensors", disk.path / "policy-2")
            failures = ("rewardplane_model_load_failures_total", ())
            assert wait_for(lambda: server.metrics()[failures] == 1)
            after = rpc.score(server.channel, [rpc.text(*TEXTS)])
    assert after == before
    assert after.model_version.policy_version == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", MANIFEST])
def test_a_byte_that_changed_is_found_before_anything_is_served(name: str, tmp_path: Path) -> None:
    save_tiny(tmp_path / "reward", "reward", seed=4)
    flip_a_byte(tmp_path / "reward" / name)
    with pytest.raises(BadCheckpoint, match=str(tmp_path / "reward")), served("reward", tmp_path / "reward"):
        pass


def test_a_file_that_changes_under_a_running_server_changes_no_score(tmp_path: Path) -> None:
    """Not even one that is cut off: a mapped file would be the end of the process."""
    save_tiny(tmp_path / "reward", "reward", seed=4)
    expected = expected_score(tmp_path / "reward")
    with served("reward", tmp_path / "reward") as server:
        weights = tmp_path / "reward" / "model.safetensors"
        weights.write_bytes(bytes(weights.stat().st_size))
        assert rpc.score(server.channel, [rpc.text(*TEXTS)]).scores[0] == expected
        os.truncate(weights, 100)
        assert rpc.score(server.channel, [rpc.text(*TEXTS)]).scores[0] == expected


def flip_a_byte(path: Path) -> None:
    """One in the middle: of the manifest, a digit of a hash."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
