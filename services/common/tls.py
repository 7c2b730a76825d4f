"""TLS of a server: certificates from files, read again when the files were replaced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rewardplane.tls import file_state

from .config import ServerConfig, WrongSetting

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the files are looked at, while connections come."""


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """None for plain text. Raises WrongSetting for files that cannot be used."""
    for given, needed in (("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert")):
        if getattr(config, given) and not getattr(config, needed):
            raise WrongSetting(needed, f"is needed with --{given.replace('_', '-')}")
    if config.tls_cert is None or config.tls_key is None:
        return None
    files = CertificateFiles(config.tls_cert, config.tls_key, config.tls_client_ca)
    # The stubs do not know that the function, called for each connection, may give None: no change.
    newer = cast(Callable[[], grpc.ServerCertificateConfiguration], files.newer)
    return grpc.dynamic_ssl_server_credentials(files.read(), newer, config.tls_client_ca is not None)


class CertificateFiles:
    """A certificate, its key, and perhaps the authorities of clients. Any thread may ask."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._paths = [path for path in (cert, key, client_ca) if path]
        self._state: list[object] = []
        self._looked_at_s = time.monotonic()
        self._lock = threading.Lock()

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What the files hold now. Raises WrongSetting, naming the file."""
        state = [_state(path) for path in self._paths]
        cert = _content("tls_cert", self._cert)
        key = _content("tls_key", self._key)
        _check_pair(cert, key)
        client_ca = None
        if self._client_ca is not None:
            client_ca = _content("tls_client_ca", self._client_ca)
            _certificates("tls_client_ca", client_ca)
        self._state = state
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca)

    def newer(self) -> grpc.ServerCertificateConfiguration | None:
        """What the files hold, when they were replaced by others that can be used."""
        with self._lock:
            if (now_s := time.monotonic()) < self._looked_at_s + LOOK_S:
                return None
            self._looked_at_s = now_s
            if [_state(path) for path in self._paths] == self._state:
                return None
            try:
                replaced = self.read()
            except WrongSetting as error:  # perhaps half replaced; looked at again with a later connection
                log.error("still using the certificate from before: %s", error)
                return None
            log.info("using the certificate that is now in %s", self._cert)
            return replaced


def _state(path: Path) -> object:
    try:
        return file_state(path)
    except OSError:
        return None


def _content(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WrongSetting(name, f"{path} cannot be read: {error.strerror}") from error


def _certificates(name: str, content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise WrongSetting(name, f"holds no PEM certificate: {error}") from error


def _check_pair(cert: bytes, key: bytes) -> None:
    own = _certificates("tls_cert", cert)[0]
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        raise WrongSetting("tls_key", f"holds no private key in PEM without a password: {error}") from error
    if private.public_key() != own.public_key():
        raise WrongSetting("tls_key", "is not the key of the first certificate in --tls-cert")
