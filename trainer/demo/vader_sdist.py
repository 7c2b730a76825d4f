"""The sdist of PyPI's vaderSentiment 3.3.2: downloaded with pip, checked, cached, read without unpacking.

The sdist (the wheel leaves it out) holds additional_resources/hutto_ICWSM_2014.tar.gz: texts that 15 and
more people rated from -4 to 4. Hutto and Gilbert, VADER (ICWSM 2014). MIT licence.
"""

import hashlib
import importlib.util
import io
import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

REQUIREMENT = "vaderSentiment==3.3.2"
SDIST_NAME = "vaderSentiment-3.3.2.tar.gz"
SDIST_SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
RATINGS_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
MAX_MEMBER_BYTES = 16 * 2**20  # the largest file that is read has 1.4 MB
DOWNLOAD_TIMEOUT_S = 600

logger = logging.getLogger(__name__)


class SdistUnavailable(RuntimeError):
    """The sdist could not be had, or it is not the file that it should be."""


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Gives $XDG_CACHE_HOME/rewardplane, or ~/.cache/rewardplane where it is unset or relative.

    XDG Base Directory Specification 0.8: "consider a relative path invalid and ignore it".
    """
    root = Path(environ.get("XDG_CACHE_HOME", ""))
    return (root if root.is_absolute() else Path.home() / ".cache") / "rewardplane"


def obtain_sdist(cache_dir: Path) -> Path:
    """Gives the path of the checked sdist, downloading it where the cache has none or a damaged one.

    Raises SdistUnavailable with pip's own last words.
    """
    cached = cache_dir / SDIST_NAME
    if cached.is_file():
        digest = _sha256(cached)
        if digest == SDIST_SHA256:
            return cached
        logger.warning("%s has SHA-256 %s, not %s: downloading it again", cached, digest, SDIST_SHA256)
    cache_dir.mkdir(parents=True, exist_ok=True)
    # Beside its final place, so that the rename below is atomic: two demos at once cannot read half a file.
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="download-") as directory:
        downloaded = _download(Path(directory), cached)
        digest = _sha256(downloaded)
        if digest != SDIST_SHA256:
            raise SdistUnavailable(
                f"{REQUIREMENT} from the package index has SHA-256 {digest}; only {SDIST_SHA256} is accepted"
            )
        os.replace(downloaded, cached)
    return cached


def _download(directory: Path, cached: Path) -> Path:
    """Has pip fetch the sdist into `directory`.

    pip runs setup.py for the metadata even of a file that it only downloads. The hash in the requirements
    file is checked before that, so nothing unknown is ever run. First with the setuptools at hand, which
    needs nothing else from the index; else in pip's own build environment.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{SDIST_SHA256}\n", encoding="utf-8")
    # "--no-binary :all:" would build setuptools itself from source inside pip's build environment.
    attempts = [["--no-binary", "vaderSentiment"]]
    if importlib.util.find_spec("setuptools") is not None:
        attempts.insert(0, ["--no-binary", ":all:", "--no-build-isolation"])
    for options in attempts:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", *options]
        command += ["--requirement", str(requirements), "--dest", str(directory)]
        complaint = _run(command)
        if not complaint and (directory / SDIST_NAME).is_file():
            return directory / SDIST_NAME
        logger.info("%s failed: %s", " ".join(command), complaint)
    raise SdistUnavailable(
        f"pip could not download the sdist of {REQUIREMENT}: {complaint or 'it saved no ' + SDIST_NAME}. "
        f"Check the package index (pip config list), or put {SDIST_NAME} at {cached} yourself"
    )


def _run(command: list[str]) -> str:
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


def read_ratings_files(sdist: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Reads the named files of the ratings archive inside the sdist.

    Members are read by their exact name and nothing is unpacked to disk, so no path inside an archive can
    lead anywhere. Raises SdistUnavailable for a missing member, for one that is no plain file or too big.
    """
    try:
        with tarfile.open(sdist, "r:gz") as outer:
            archive = _read_member(outer, RATINGS_ARCHIVE)
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as inner:
            return {name: _read_member(inner, f"hutto_ICWSM_2014/{name}") for name in names}
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SdistUnavailable(f"{sdist} is not a readable archive: {error}") from error


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        member = archive.getmember(name)
    except KeyError:
        raise SdistUnavailable(f"the archive has no member {name!r}") from None
    if not member.isfile() or member.size > MAX_MEMBER_BYTES:
        raise SdistUnavailable(f"archive member {name!r} is not a plain file of at most {MAX_MEMBER_BYTES} bytes")
    stream = archive.extractfile(member)
    assert stream is not None  # getmember gave a plain file
    return stream.read()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
