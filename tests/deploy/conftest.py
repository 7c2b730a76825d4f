"""Each overlay, and the base with each component; a cluster that the prod overlay was applied to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kube_cluster import KubeCluster, applied
from manifests import COMPONENTS, OVERLAYS, Object, overlay, with_component


@pytest.fixture(params=[*OVERLAYS, *(f"base+{name}" for name in COMPONENTS)])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Object, ...]:
    """Everything that one variant of deploy/ applies."""
    name: str = request.param
    return with_component(name.removeprefix("base+"), tmp_path) if "+" in name else overlay(name)


@pytest.fixture
def kube(tmp_path: Path) -> Iterator[KubeCluster]:
    with applied(overlay("prod"), tmp_path) as cluster:
        yield cluster
