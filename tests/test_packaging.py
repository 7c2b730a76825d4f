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


def test_the_ranking_pages_files_are_in_the_wheel():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    labelling = ROOT / "trainer" / "labelling"
    shipped = {path for pattern in patterns["rewardplane.trainer.labelling"] for path in labelling.glob(pattern)}
    files = {path for path in (labelling / "page").rglob("*") if path.is_file()}
    assert len(files) > 10
    assert files <= shipped
