"""One rank of a trainer: `python -m rewardplane.trainer.launch.rank ppo ...`; `rewardplane pod` starts it."""

from __future__ import annotations

import sys

from .command import run_in_process

if __name__ == "__main__":
    sys.exit(run_in_process(sys.argv[1:]))
