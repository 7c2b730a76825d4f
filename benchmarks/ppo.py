"""PPO against TRL 1.12.0, the last release that has it: updates a second, CPU, and what slow judges cost.

python benchmarks/ppo.py [--quick]; the same random Llama, prompts, batch and epochs for TRL as it is, for TRL
without its gc.collect() and empty_cache(), and for rewardplane with both judges over gRPC in other processes, on-policy
and one update ahead (sampling.ahead = 1).
Trainers compute with two threads, each judge with one. Contestants take turns in blocks of updates; figures are medians
over updates. TRL is installed into build/trl when it is not there (no dependency of this project).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ppo_parts.contestants import HERE, Block, Contestant, Delayed, Judge
from ppo_parts.models import Size, make_models
from result_file import Bar, write_results

TRL = (
    "trl==1.12.0", "datasets==5.2.0", "pandas==3.1.1", "pyarrow==26.0.1", "dill==0.4.1", "multiprocess==0.70.19",
    "xxhash==4.1.0",
)  # fmt: skip
EPOCHS = 4
THREADS = 2
"""Of each trainer."""
DELAY_S = 0.1


@dataclass(frozen=True)
class Shape:
    """One comparison."""

    size: Size
    batch: int
    answer_tokens: int
    block: int  # updates in a turn
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.batch} x {self.answer_tokens}, hidden {self.size.hidden}, {self.size.layers} layers"


SMALL, LARGER = Size(hidden=64, layers=2), Size(hidden=256, layers=4)
FULL = (Shape(SMALL, 16, 24, block=10, rounds=5), Shape(SMALL, 64, 32, block=5, rounds=5), Shape(LARGER, 16, 24, 3, 3))
QUICK = (Shape(SMALL, 16, 24, block=4, rounds=2), Shape(SMALL, 64, 32, block=2, rounds=2))


def install_trl(directory: Path) -> str:
    """Gives the reason why TRL cannot be had, or nothing."""
    if (directory / "trl").is_dir():
        return ""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory), *TRL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip()[-300:] if done.returncode else ""


def compare(shape: Shape, trl: Path | None, directory: Path) -> list[dict[str, object]]:
    """One row a contestant."""
    models = directory / f"models-{shape.size.hidden}-{shape.size.layers}"
    if not models.exists():
        make_models(models, shape.size)
    judges = [Judge("reward", models / "reward", directory), Judge("reference", models / "sft", directory)]
    processes = [judge.process for judge in judges]
    try:
        direct = [judge.target for judge in judges]
        delayed = [Delayed(target, DELAY_S, directory) for target in direct]
        processes += [proxy.process for proxy in delayed]
        contestants = contestants_of(shape, models, direct, [d.target for d in delayed], trl, directory, processes)
        processes += [contestant.process for contestant in contestants]
        for contestant in contestants:
            contestant.run(2)  # warm-up
        blocks: dict[str, list[Block]] = {contestant.name: [] for contestant in contestants}
        for _ in range(shape.rounds):
            for contestant in contestants:
                blocks[contestant.name].append(contestant.run(shape.block))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [row_of(shape, name, found) for name, found in blocks.items()]


def contestants_of(
    shape: Shape,
    models: Path,
    direct: list[str],
    delayed: list[str],
    trl: Path | None,
    directory: Path,
    processes: list[subprocess.Popen[str]],
) -> list[Contestant]:
    numbers = [str(number) for number in (shape.batch, shape.answer_tokens, EPOCHS, THREADS)]
    judges, helpers = [p.pid for p in processes[:2]], [p.pid for p in processes]

    def output(name: str) -> str:
        return tempfile.mkdtemp(prefix=f"{name.replace(' ', '-')}-", dir=directory)

    def ours(name: str, targets: list[str], pids: list[int], ahead: int = 0) -> Contestant:
        command = [str(HERE / "our_worker.py"), str(models), *targets, *numbers, output(name), str(ahead)]
        return Contestant(name, command, directory / f"{name}.log", pids)

    def theirs(name: str, variant: str) -> Contestant:
        command = [str(HERE / "trl_worker.py"), str(models), variant, *numbers, output(name)]
        return Contestant(name, command, directory / f"{name}.log", [], trl)

    found = [
        ours("rewardplane", direct, judges),
        ours("rewardplane, 100 ms", delayed, helpers),
        ours("rewardplane, one ahead", direct, judges, ahead=1),
        ours("rewardplane, 100 ms, one ahead", delayed, helpers, ahead=1),
    ]
    return found + ([theirs("TRL", "stock"), theirs("TRL without gc", "patched")] if trl else [])


def row_of(shape: Shape, name: str, blocks: list[Block]) -> dict[str, object]:
    seconds = [second for block in blocks for second in block.seconds]
    row: dict[str, object] = {
        "shape": shape.name,
        "trainer": name,
        "updates_per_s": 1.0 / statistics.median(seconds),
        "seconds_per_update": statistics.median(seconds),
        "cpu_seconds_per_update": statistics.median(block.cpu_seconds / len(block.seconds) for block in blocks),
        "updates": len(seconds),
    }
    stages = {key: sum(block.stages[key] for block in blocks) for key in blocks[0].stages}
    total = stages.get("seconds_total", 0.0)
    for stage in ("sample", "measure", "judge", "update"):
        row[f"share_{stage}"] = round(stages[f"seconds_{stage}"] / total, 3) if total else ""
    row["answer_tokens"] = stages["answer_tokens"] / len(seconds) if total else ""
    return row


def bars_of(shape: Shape, rows: list[dict[str, object]]) -> list[Bar]:
    speed = {str(row["trainer"]): float(str(row["updates_per_s"])) for row in rows}
    ours = speed["rewardplane"]
    ahead = speed["rewardplane, one ahead"] / speed["rewardplane, 100 ms, one ahead"]
    bars = [
        Bar(f"{shape.name}: step with 100 ms of delay", ours / speed["rewardplane, 100 ms"], "at most 1.15"),
        Bar(f"{shape.name}: step with 100 ms of delay, one ahead", ahead, "at most 1.15"),
    ]
    if "TRL" in speed:
        bars += [
            Bar(f"{shape.name}: times TRL's updates/s", ours / speed["TRL"], "at least 3"),
            Bar(f"{shape.name}: times those of TRL without gc", ours / speed["TRL without gc"], "at least 1.5"),
        ]
    return bars


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few updates, and no file in results/")
    parser.add_argument("--trl", type=Path, default=Path("build/trl"), help="where TRL 1.12.0 is, or gets installed")
    options = parser.parse_args()
    missing = install_trl(options.trl)
    rows: list[dict[str, object]] = []
    bars: list[Bar] = []
    with tempfile.TemporaryDirectory() as directory:
        for shape in QUICK if options.quick else FULL:
            found = compare(shape, None if missing else options.trl.resolve(), Path(directory))
            rows += found
            bars += bars_of(shape, found)
    note = f"Trainers compute with {THREADS} threads; the judges are two processes more, their CPU is counted."
    note += f" TRL is missing: {missing}" if missing else ""
    if not options.quick:
        path = write_results("ppo", "python benchmarks/ppo.py", rows, bars, note)
        print(path.with_suffix(".md").read_text())
    found_bars = {bar.name: [bar.value, bar.goal, bar.holds] for bar in bars}
    print(json.dumps({"rows": rows, "bars": found_bars, "note": note}))


if __name__ == "__main__":
    main()
