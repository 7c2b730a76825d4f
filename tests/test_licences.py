"""docs/licences.md lists what constraints.txt pins, and each of them may be used beside Apache-2.0."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
# The Apache Software Foundation's categories A and B: https://www.apache.org/legal/resolved.html. MPL-2.0 is of
# category B: its files stay under it, and we change none of them.
PERMISSIVE = {
    "0BSD", "3-Clause BSD License", "Apache", "Apache 2.0 License", "Apache Software License", "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception", "BSD", "BSD License", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0", "MIT-CMU", "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)", "PSF-2.0", "Python Software Foundation License", "Unlicense", "Zlib",
}  # fmt: skip


@pytest.fixture(scope="module")
def licences() -> ModuleType:
    spec = importlib.util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(licences: ModuleType) -> None:
    assert {name: version for name, (version, _) in licences.listed().items()} == licences.pinned()
    assert licences.PAGE.read_text() == licences.page(), "run .venv/bin/python .ci/licences.py"


def test_every_licence_may_be_used_beside_ours(licences: ModuleType) -> None:
    listed = {name: licence for name, (_, licence) in licences.listed().items()}
    assert len(listed) > 50
    assert not {name: licence for name, licence in listed.items() if not may_be_used(licence)}


def may_be_used(licence: str) -> bool:
    """All parts of an AND, one of an OR."""
    return all(
        any(one.strip(" ()") in PERMISSIVE or one.strip() in PERMISSIVE for one in part.split(" OR "))
        for part in re.split(r" AND |, ", licence)
    )


def test_a_licence_that_may_not_be_used_is_noticed() -> None:
    assert not may_be_used("GPL-3.0-or-later")
    assert not may_be_used("MIT AND AGPL-3.0-only")
    assert not may_be_used("?")
    assert may_be_used("GPL-2.0-only OR MIT")
