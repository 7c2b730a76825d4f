"""Writes docs/licences.md: the licence of every package of constraints.txt, as its own metadata says.

    .venv/bin/python .ci/licences.py

What is not installed keeps the row that it has; tests/test_licences.py says when the page is not current.
"""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
CLASSIFIER = "License :: OSI Approved :: "
SHORT = 40
"""A longer `License` field is the text of one."""

HEADER = """# Licences of what we depend on

Of every package in `constraints.txt`, by its own metadata; `.ci/licences.py` writes this page, and
`tests/test_licences.py` checks that it is current and that each licence may be used beside Apache-2.0. Nothing of
them is part of this repository. An SBOM in CycloneDX with all of it: `make audit` leaves `build/sbom.json`.

| package | version | licence |
|---|---|---|
"""


def pinned() -> dict[str, str]:
    """Version by normalised name, as in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {normalised(name): version.split(";")[0].strip() for name, version in pins}


def normalised(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(name: str) -> str | None:
    """None for a package that is not installed; "?" for one that does not say."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    expression, text = about.get("License-Expression"), (about.get("License") or "").strip()
    classifiers = [c.removeprefix(CLASSIFIER) for c in about.get_all("Classifier") or () if c.startswith(CLASSIFIER)]
    if expression:
        return str(expression)
    if classifiers:
        return ", ".join(classifiers)
    first = text.splitlines()[0] if text else ""
    return first if 0 < len(first) <= SHORT else "?"


def listed() -> dict[str, tuple[str, str]]:
    """Version and licence by name, as the page has them."""
    rows = re.findall(r"^\| ([\w-]+) \| (\S+) \| (.+) \|$", PAGE.read_text(), re.MULTILINE) if PAGE.exists() else []
    return {name: (version, licence) for name, version, licence in rows if name != "package"}


def page() -> str:
    before = listed()
    rows = []
    for name, version in sorted(pinned().items()):
        licence = licence_of(name) or before.get(name, ("", "?"))[1]
        rows.append(f"| {name} | {version} | {licence} |\n")
    return HEADER + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page())
