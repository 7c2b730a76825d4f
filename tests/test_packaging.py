"""What a wheel holds."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = {"rewardplane": "rewardplane", "services": "rewardplane.services", "trainer": "rewardplane.trainer"}


def test_every_package_of_the_tree_is_in_the_wheel():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [
        ".".join([name, *init.parent.relative_to(ROOT / part).parts])
        for part, name in PARTS.items()
        for init in (ROOT / part).rglob("__init__.py")
    ]
    assert sorted(named) == sorted(found)
