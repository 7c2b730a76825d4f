"""`rewardplane fetch`: a checkpoint from a URL, verified byte by byte before it appears under its name."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import fsspec
import typer

from rewardplane.modeling.checkpoint import MANIFEST, BadCheckpoint, Manifest, read_manifest
from rewardplane.modeling.confined import check_names
from rewardplane.modeling.durable import appearing_whole
from rewardplane.modeling.signing import SIGNATURE

from .explain import explained

app = typer.Typer(add_completion=False, no_args_is_help=True)


def main(argv: list[str]) -> int:
    """Gives the exit status: 0 when the checkpoint is there, 1 when it cannot be had, 2 for wrong flags."""
    try:
        app(args=argv, prog_name="rewardplane fetch")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@app.command()
def fetch(
    url: Annotated[str, typer.Argument(help="A checkpoint's directory at any URL of fsspec: https://, s3://, ...")],
    directory: Annotated[Path, typer.Argument(help="Where it is to appear.")],
    digest: Annotated[str, typer.Option(help="SHA-256 of its manifest.json; anything else is refused.")],
) -> None:
    """Copies a checkpoint from a URL; one that is there already is verified and kept."""
    with explained():
        found = fetch_checkpoint(url, directory, digest)
        typer.echo(f"{directory}: {found.model_name}, {len(found.files)} files, digest {found.digest}")


def fetch_checkpoint(url: str, directory: Path, digest: str) -> Manifest:
    """Copies the files that the manifest at `url` names; the directory appears in one rename.

    Raises BadCheckpoint when manifest or files are not those of `digest` (hex SHA-256 of the manifest), also when
    `directory` holds other weights already, or when `url` cannot be read.
    """
    if directory.exists():
        return _require(read_manifest(directory), digest, str(directory))
    with appearing_whole(directory) as staging:
        _copy(url.rstrip("/"), staging, digest)
        return _require(read_manifest(staging), digest, url)


def _copy(url: str, staging: Path, digest: str) -> None:
    try:
        files, root = fsspec.core.url_to_fs(url)
        content: bytes = files.cat_file(f"{root}/{MANIFEST}")
        found = hashlib.sha256(content).hexdigest()
        if found != digest:
            raise BadCheckpoint(f"{url}/{MANIFEST} has digest {found}, and {digest} is wanted")
        (staging / MANIFEST).write_bytes(content)
        for name in _names(url, json.loads(content)):
            files.get_file(f"{root}/{name}", str(staging / name))
        if files.exists(f"{root}/{SIGNATURE}"):
            files.get_file(f"{root}/{SIGNATURE}", str(staging / SIGNATURE))
    except (ImportError, OSError, ValueError) as error:
        if isinstance(error, BadCheckpoint):
            raise
        raise BadCheckpoint(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error


def _names(url: str, manifest: Any) -> list[str]:
    """The files of a manifest. It decides where bytes are written, so a name is a name and not a path."""
    names = [*manifest["files"]]
    check_names(f"{url}/{MANIFEST}", names)
    return names


def _require(manifest: Manifest, digest: str, where: str) -> Manifest:
    if manifest.digest != digest:
        raise BadCheckpoint(f"{where} has digest {manifest.digest}, and {digest} is wanted")
    return manifest
