"""A program of a gang: all ranks add up steps, rank 0 writes down how far they are, and one rank dies once.

Arguments: a directory, the number of steps, and the step before which rank 1 is killed the first time.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist


def main(directory: Path, steps: int, deadly: int) -> None:
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    state, died = directory / "state", directory / "died"
    done, total = map(int, state.read_text().split()) if state.exists() else (0, 0)
    if rank == 0:
        with (directory / "starts").open("a") as starts:
            starts.write(f"{done}\n")
    for step in range(done, steps):
        if step == deadly and rank == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        one = torch.ones(1)
        dist.all_reduce(one)
        assert int(one) == ranks
        total += int(one)
        if rank == 0:
            state.with_suffix(".tmp").write_text(f"{step + 1} {total}")
            state.with_suffix(".tmp").replace(state)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
