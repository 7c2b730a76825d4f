"""On one GPU, in one call: correctness first, then scoring, log-probs, sampling, serving and PPO beside its limits.

python benchmarks/gpu.py [--parts scoring head ...] [--device cpu --tiny]

Weights are random and made from shapes; nothing is downloaded. It runs from a bare checkout with torch >= 2.11 and
transformers >= 5.17; neither tritonclient nor kubernetes is needed. A part whose packages are missing is named in the
note with what it lacks: pydantic, grpcio-status and googleapis-common-protos may lie in build/carried.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    from gpu_parts.tree import make_importable

    make_importable()
    from gpu_parts.parts import NAMES
    from gpu_parts.report import report

    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a try of the script itself: writes no result")
    parser.add_argument("--parts", nargs="+", choices=NAMES, default=NAMES)
    options = parser.parse_args()
    report(options.parts, options.device, tiny=options.tiny)


if __name__ == "__main__":
    main()
