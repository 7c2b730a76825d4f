"""`rewardplane fetch`: what appears is what the digest names, or nothing."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from rewardplane.trainer.fetch import fetch_checkpoint, main
from s3_server import Bucket
from tiny_models import save_tiny

from rewardplane.modeling.checkpoint import MANIFEST, BadCheckpoint


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("store") / "reward"
    save_tiny(directory, "reward")
    return directory


@pytest.fixture
def store(published: Path) -> Iterator[str]:
    """A web server with the checkpoint."""
    handler = functools.partial(QuietHandler, directory=str(published.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def digest_of(checkpoint: Path) -> str:
    return hashlib.sha256((checkpoint / MANIFEST).read_bytes()).hexdigest()


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_every_byte_arrives(published: Path, store: str, tmp_path: Path) -> None:
    target = tmp_path / "models" / "reward"
    status = main([f"{store}/reward", str(target), "--digest", digest_of(published)])
    assert status == 0
    assert content(target) == content(published)


def test_every_byte_arrives_from_s3(published: Path, s3: Bucket, tmp_path: Path) -> None:
    fsspec.filesystem("s3").put(str(published), "bucket/published", recursive=True)
    assert main([f"{s3.url}/published", str(tmp_path / "reward"), "--digest", digest_of(published)]) == 0
    assert content(tmp_path / "reward") == content(published)


def test_what_is_there_is_kept_and_checked(published: Path, tmp_path: Path) -> None:
    target = tmp_path / "reward"
    fetch_checkpoint(str(published), target, digest_of(published))
    fetch_checkpoint("https://nobody.invalid/reward", target, digest_of(published))  # asks nobody
    with pytest.raises(BadCheckpoint, match="is wanted"):
        fetch_checkpoint(str(published), target, "0" * 64)
    (target / "config.json").write_text("{}")
    with pytest.raises(BadCheckpoint, match=r"torn or was changed: config\.json"):
        fetch_checkpoint(str(published), target, digest_of(published))


def test_another_digest_is_refused_before_weights_are_copied(published: Path, store: str, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=f"has digest {digest_of(published)}, and {'0' * 64} is wanted"):
        fetch_checkpoint(f"{store}/reward", tmp_path / "reward", "0" * 64)
    assert not list(tmp_path.iterdir())


def test_a_changed_byte_leaves_nothing_behind(published: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    fetch_checkpoint(str(published), source, digest_of(published))
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    with pytest.raises(BadCheckpoint, match=r"model\.safetensors"):
        fetch_checkpoint(str(source), tmp_path / "reward", digest_of(published))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "a/b.json", ".."])
def test_a_manifest_names_no_paths(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / MANIFEST).write_text(json.dumps({"files": {name: "0" * 64}}))
    with pytest.raises(BadCheckpoint, match="not a plain name"):
        fetch_checkpoint(str(source), tmp_path / "models" / "reward", digest_of(source))
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize("url", ["nosuch://store/reward", "http://127.0.0.1:9/reward", "/nowhere/reward"])
def test_a_store_that_cannot_be_read_is_named(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([url, str(tmp_path / "reward"), "--digest", "0" * 64]) == 1
    assert url in capsys.readouterr().err
