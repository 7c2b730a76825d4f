"""Makes the checkout importable where the package cannot be installed: a machine without a network."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CARRIED = ROOT / "build" / "carried"
"""What the machine may lack of the `serve` and `train` extras: `make carried`."""
METADATA = "Metadata-Version: 2.1\nName: rewardplane\nVersion: 0.0.0+checkout\n"


def make_importable() -> None:
    """As the installed package has it: services and trainer lie inside rewardplane."""
    if CARRIED.is_dir():
        sys.path.append(str(CARRIED))  # what the machine has comes first
    if importlib.util.find_spec("rewardplane") and importlib.util.find_spec("rewardplane.services"):
        return
    place = Path(tempfile.mkdtemp(prefix="rewardplane-tree-"))
    package = place / "rewardplane"
    package.mkdir()
    for source in (*(ROOT / "rewardplane").iterdir(), ROOT / "services", ROOT / "trainer"):
        (package / source.name).symlink_to(source)
    information = place / "rewardplane-0.0.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(METADATA)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rewardplane"]:
        del sys.modules[name]
    sys.path.insert(0, str(place))
