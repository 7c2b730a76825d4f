"""`rewardplane sign` and `rewardplane verify`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from .checkpoint import BadCheckpoint, read_manifest
from .signing import SIGNATURE, BadKey, TrustedKeys, read_signing_key, sign_manifest


def sign(argv: list[str]) -> int:
    """Gives the exit status: 0 when the checkpoint is signed, 1 when it cannot be, 2 for wrong flags."""
    parser = argparse.ArgumentParser(
        "rewardplane sign", description="Signs a checkpoint whose files are as its manifest says."
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--key", type=Path, required=True, help="Ed25519 private key in PEM")
    return _run(parser, argv, _sign)


def verify(argv: list[str]) -> int:
    """Gives the exit status: 0 when the checkpoint is whole and signed, 1 when it is not, 2 for wrong flags."""
    parser = argparse.ArgumentParser("rewardplane verify", description="Compares a checkpoint with its manifest.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--trusted-keys", type=Path, help="Ed25519 public keys in PEM, one of which must have signed it"
    )
    return _run(parser, argv, _verify)


def _run(parser: argparse.ArgumentParser, argv: list[str], command: Callable[[argparse.Namespace], str]) -> int:
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        sys.stdout.write(f"{command(options)}\n")
    except (BadCheckpoint, BadKey, OSError) as error:
        sys.stderr.write(f"rewardplane: {error}\n")
        return 1
    return 0


def _sign(options: argparse.Namespace) -> str:
    key = read_signing_key(options.key)
    manifest = read_manifest(options.checkpoint)
    if not manifest.kind:
        raise BadCheckpoint(f"{options.checkpoint} has no manifest.json that could be signed: save it with a trainer")
    sign_manifest(options.checkpoint, key)
    return f"{options.checkpoint / SIGNATURE}: digest {manifest.digest}"


def _verify(options: argparse.Namespace) -> str:
    trusted = TrustedKeys(options.trusted_keys) if options.trusted_keys else None
    signed = trusted.require(options.checkpoint) if trusted else None
    manifest = read_manifest(options.checkpoint)
    if signed not in (None, manifest.digest):
        raise BadCheckpoint(f"{options.checkpoint} was changed while it was verified")
    return f"{options.checkpoint} is whole{' and signed' if signed else ''}: digest {manifest.digest}"
