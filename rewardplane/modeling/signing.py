"""Who made a checkpoint: a detached Ed25519 signature (RFC 8032) over its manifest, which names every byte."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from .checkpoint import MANIFEST, BadCheckpoint

SIGNATURE = f"{MANIFEST}.sig"
"""Holds the 64 bytes in base64."""
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class BadKey(ValueError):
    """A file that does not hold the keys that it should."""


class TrustedKeys:
    """Public keys of those whose checkpoints are loaded."""

    def __init__(self, path: Path) -> None:
        """Reads PEM public keys. Raises BadKey for a file without one, or with one of another kind."""
        try:
            keys = [load_pem_public_key(pem) for pem in _PEM.findall(path.read_bytes())]
        except (OSError, ValueError, UnsupportedAlgorithm) as error:
            raise BadKey(f"{path} cannot be read: {error}") from error
        self._keys = [key for key in keys if isinstance(key, Ed25519PublicKey)]
        if not keys or len(self._keys) < len(keys):
            raise BadKey(f"{path} does not hold Ed25519 public keys alone, in PEM")

    def require(self, directory: Path) -> str:
        """The digest of a manifest that one of the keys has signed; raises BadCheckpoint for any other.

        The files are not looked at: `read_manifest` compares them with the manifest.
        """
        manifest, signature = directory / MANIFEST, directory / SIGNATURE
        if not manifest.is_file() or not signature.is_file():
            raise BadCheckpoint(f"{directory} is not signed: it has no {SIGNATURE}, and trusted keys are required")
        content = manifest.read_bytes()
        try:
            given = base64.b64decode(signature.read_bytes().strip(), validate=True)
        except ValueError as error:
            raise BadCheckpoint(f"{signature} is no signature: {error}") from error
        if not _signed_by_any(self._keys, given, content):
            raise BadCheckpoint(f"{directory} is signed by none of the trusted keys, or was changed since")
        return hashlib.sha256(content).hexdigest()


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """Reads a private key in PEM without a password. Raises BadKey."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey(f"{path} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"{path} is no Ed25519 key: make one with `openssl genpkey -algorithm ed25519`")
    return key


def sign_manifest(directory: Path, key: Ed25519PrivateKey) -> None:
    """Writes the signature beside the manifest."""
    signature = base64.b64encode(key.sign((directory / MANIFEST).read_bytes()))
    staging = directory / f".{SIGNATURE}.tmp"
    staging.write_bytes(signature + b"\n")
    staging.replace(directory / SIGNATURE)


def _signed_by_any(keys: Sequence[Ed25519PublicKey], signature: bytes, content: bytes) -> bool:
    for key in keys:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            continue
        return True
    return False
