"""What another implementation computes, for the formula tests; and an S3 server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from s3_server import Bucket, s3_bucket
from torch import Tensor


@pytest.fixture(scope="session")
def s3() -> Iterator[Bucket]:
    with s3_bucket() as bucket:
        yield bucket


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Gives the numbers of TRL 1.12.0 (tests/golden/make_trl_golden.py) as nested lists."""
    path = Path(__file__).parents[1] / "golden" / "trl_1_12.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def golden_batch(golden: dict[str, Any]) -> dict[str, Tensor]:
    """Gives TRL's input: 6 answers of 8, 4, 1 ... tokens. What stands on padding is not zero."""
    return {name: torch.tensor(value) for name, value in golden["batch"].items()}
