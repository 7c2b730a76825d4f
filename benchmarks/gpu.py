"""On one GPU, in one call: correctness first, then scoring, log-probs, sampling, serving and PPO beside its limits.

python benchmarks/gpu.py [--parts scoring head ...] [--seconds 540] [--out DIRECTORY] [--device cpu --tiny]

Weights are random and made from shapes; nothing is downloaded. It runs from a bare checkout with torch >= 2.11 and
transformers >= 5.17; neither tritonclient nor kubernetes is needed. Every part is a process of its own, so that one
that fails, hangs or breaks its CUDA context takes no other with it; what is known is written after each. A part whose
packages are missing is named in the note with what it lacks: `make carried` puts what serving and PPO need, and a
machine for torch may lack, into build/carried, for CPython 3.12.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Else a look for a device keeps processes that are forked afterwards from using one.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")


def main() -> None:
    from gpu_parts.tree import make_importable

    make_importable()
    from gpu_parts.parts import Parts, preload
    from gpu_parts.report import NAMES, Limits, report

    parser = argparse.ArgumentParser()
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a try of the script itself: writes no result")
    parser.add_argument("--parts", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument(
        "--seconds", type=float, default=540.0, help="of all; parts that would begin later are left out"
    )
    parser.add_argument("--part-seconds", type=float, default=240.0, help="of one part; it is ended then")
    parser.add_argument("--out", type=Path, help="where gpu.json and gpu.md go; default: benchmarks/results")
    parser.add_argument("--commit", help="what is measured, where there is no git")
    options = parser.parse_args()
    preload()
    limits = Limits(options.seconds, options.part_seconds)
    report(Parts(options.device, options.tiny), options.parts, limits, out=options.out, commit=options.commit)


if __name__ == "__main__":
    main()
