"""An S3 server for a test session (moto's), and what fsspec needs to find it. `make test-s3` brings both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import fsspec
import pytest

WHY = "make test-s3 runs it: s3fs wants another python-dateutil than kubernetes"


@dataclass(frozen=True)
class Bucket:
    url: str
    environment: Mapping[str, str]
    """Of processes that are to find it."""


@contextmanager
def s3_bucket() -> Iterator[Bucket]:
    """An empty bucket, over HTTP; this process finds it, too."""
    pytest.importorskip("s3fs", reason=WHY)
    moto = pytest.importorskip("moto.server", reason=WHY)
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("bucket")
        yield Bucket("s3://bucket", environment)
    server.stop()
