"""Reward training on K = 9 ranked answers against TRL 1.16.0, which expands them to 36 pairs: CPU seconds a question.

python benchmarks/reward_training.py [--quick]; the same random Llama (6 layers, 256 wide), questions of 128 tokens and
answers of 64, one thread, float32. Contestants take turns in blocks of updates of 2 questions; figures are medians over
blocks. TRL is installed into build/trl-1.16 when it is not there (no dependency of this project).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ppo_parts.contestants import Block, Contestant
from result_file import Bar, write_results

TRL = (
    "trl==1.16.0", "datasets==5.2.0", "pandas==3.1.1", "pyarrow==26.0.1", "dill==0.4.1", "multiprocess==0.70.19",
    "xxhash==4.1.0",
)  # fmt: skip
QUESTIONS = 2
"""Of one optimizer step."""
PAIRS = 12
"""Of TRL's forward passes: the quickest of 4, 12 and 36 on two cores of an EPYC."""
HERE = Path(__file__).parent / "reward_parts"


def install_trl(directory: Path) -> str:
    """Gives the reason why TRL cannot be had, or nothing."""
    if (directory / "trl").is_dir():
        return ""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(directory), *TRL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip()[-300:] if done.returncode else ""


def contestants(directory: Path, trl: Path | None) -> dict[Contestant, int]:
    """With the updates of a block: TRL's take longer."""

    def worker(name: str, command: list[str], extra_path: Path | None = None) -> Contestant:
        log = directory / f"{name.replace(' ', '-')}.log"
        return Contestant(name, [str(HERE / command[0]), *command[1:]], log, [], extra_path)

    found = {
        worker("rewardplane", ["our_worker.py", "shared", str(QUESTIONS)]): 8,
        worker("K sequences", ["our_worker.py", "separate", str(QUESTIONS)]): 4,
    }
    if trl is not None:
        numbers = [str(QUESTIONS), str(PAIRS), str(directory / "trl")]
        found[worker("TRL on pairs", ["trl_worker.py", *numbers], trl)] = 1
    return found


def compare(trl: Path | None, rounds: int) -> list[dict[str, object]]:
    """One row a contestant."""
    with tempfile.TemporaryDirectory() as directory:
        taking_turns = contestants(Path(directory), trl)
        try:
            for contestant in taking_turns:
                contestant.run(1)  # warm-up
            blocks: dict[str, list[Block]] = {contestant.name: [] for contestant in taking_turns}
            for _ in range(rounds):
                for contestant, updates in taking_turns.items():
                    blocks[contestant.name].append(contestant.run(updates))
        finally:
            for contestant in taking_turns:
                contestant.process.kill()
                contestant.process.wait()
    return [row_of(name, found) for name, found in blocks.items()]


def row_of(name: str, blocks: list[Block]) -> dict[str, object]:
    cpu = [block.cpu_seconds / len(block.seconds) / QUESTIONS for block in blocks]
    wall = [second / QUESTIONS for block in blocks for second in block.seconds]
    return {
        "trainer": name,
        "cpu_seconds_per_question": statistics.median(cpu),
        "lowest": min(cpu),
        "highest": max(cpu),
        "seconds_per_question": statistics.median(wall),
        "questions": QUESTIONS * sum(len(block.seconds) for block in blocks),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="two rounds, and no file in results/")
    parser.add_argument(
        "--trl", type=Path, default=Path("build/trl-1.16"), help="where TRL 1.16.0 is, or gets installed"
    )
    options = parser.parse_args()
    missing = install_trl(options.trl)
    rows = compare(None if missing else options.trl.resolve(), rounds=2 if options.quick else 5)
    cpu = {str(row["trainer"]): float(str(row["cpu_seconds_per_question"])) for row in rows}
    bars = [Bar("CPU of K sequences / ours", cpu["K sequences"] / cpu["rewardplane"], "at least 1.6")]
    if not missing:
        bars.append(Bar("CPU of TRL on pairs / ours", cpu["TRL on pairs"] / cpu["rewardplane"], "at least 8"))
    note = "K = 9, question 128, answers 64 tokens. By tokens alone the ratios are 2.5 and 19.6."
    note += f" TRL is missing: {missing}" if missing else ""
    if not options.quick:
        path = write_results("reward_training", "python benchmarks/reward_training.py", rows, bars, note)
        print(path.with_suffix(".md").read_text())
    print(
        json.dumps({"rows": rows, "bars": {bar.name: [bar.value, bar.goal, bar.holds] for bar in bars}, "note": note})
    )


if __name__ == "__main__":
    main()
