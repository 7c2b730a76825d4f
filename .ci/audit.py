"""Asks the advisory database of PyPI about every package of constraints.txt: audit.py PIP_AUDIT.

Ends with 1 when one has a known vulnerability, and with 0, after saying so, when the database does not answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[1] / "constraints.txt"
ARGUMENTS = ("--progress-spinner", "off", "--no-deps", "--disable-pip", "--format", "json", "--requirement", str(LOCK))
TIMEOUT_S = 600


def main(pip_audit: str) -> int:
    run = subprocess.run([pip_audit, *ARGUMENTS], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    try:
        packages = json.loads(run.stdout)["dependencies"]
    except ValueError:
        last = (run.stderr.strip().splitlines() or ["no output"])[-1]
        return skip(last) if "Connection" in run.stderr else fail(last)
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        return skip(f"it knows none of {len(packages)} packages")
    bad = [f"{p['name']} {p['version']}: {v['id']}, mended in {v['fix_versions']}" for p in asked for v in p["vulns"]]
    print(f"audit: {len(asked)} of {len(packages)} packages are known to the database, {len(bad)} vulnerabilities")
    return fail("\n".join(bad)) if bad else 0


def skip(why: str) -> int:
    print(f"audit: skipped, the advisory database cannot be asked: {why}")
    return 0


def fail(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
