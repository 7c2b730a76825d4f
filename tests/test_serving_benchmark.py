"""What benchmarks/serving.py measures with: processes, load, medians."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from serving_parts.assets import BLOCK, Request, block_lengths
from serving_parts.bars import bars_of
from serving_parts.cases import MANY
from serving_parts.clients import AsksOurs
from serving_parts.findings import OURS, Findings
from serving_parts.load import RanOut, closed_loop
from serving_parts.processes import DidNotStart, ServerProcess, tree
from serving_parts.servers import Running

PARENT = """
import subprocess, sys, time
child = "import time\\nwhile time.process_time() < 0.5: pass\\nprint('burnt', flush=True)\\ntime.sleep(60)"
subprocess.Popen([sys.executable, "-c", child]).wait()
"""


def test_cpu_and_memory_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    process = ServerProcess([sys.executable, "-c", PARENT], {}, tmp_path / "log")
    end_s = time.monotonic() + 30
    while "burnt" not in (tmp_path / "log").read_text() and time.monotonic() < end_s:
        time.sleep(0.05)
    pids = tree(process._process.pid)
    assert len(pids) == 2
    assert 0.5 <= process.cpu_seconds() < 2.0
    assert 4e6 < process.resident_bytes() < 1e8  # two Pythons
    process.stop()
    assert not [pid for pid in pids if runs(pid)]


def runs(pid: int) -> bool:
    time.sleep(0.1)  # a killed process ends when it is next scheduled
    cmdline = Path(f"/proc/{pid}/cmdline")
    return cmdline.exists() and cmdline.read_bytes() != b""  # nobody has waited for a zombie, but it has ended


def test_server_that_ends_is_reported_with_its_error(tmp_path: Path) -> None:
    process = ServerProcess([sys.executable, "-c", "raise ValueError('no such model')"], {}, tmp_path / "log")
    process._process.wait(30)
    with pytest.raises(DidNotStart, match="it ended with 1: ValueError: no such model"):
        process.check(time.monotonic() + 60)


def test_every_block_has_the_same_lengths_in_another_order() -> None:
    """Log-normal with median e^4.86 = 129 tokens, clipped to 20..512."""
    rng = random.Random(3)
    first, second = block_lengths(BLOCK, rng), block_lengths(BLOCK, rng)
    assert first != second
    assert sorted(first) == sorted(second)
    assert (min(first), max(first)) == (23, 512)  # e^(4.86 - 2.42 * 0.72) at the least of 64 parts
    assert sorted(first)[31] < 129 <= sorted(first)[32]


def running(tmp_path: Path) -> Running:
    process = ServerProcess([sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path / "log")
    return Running("peer", process, 1, AsksOurs, time.monotonic() + 60)


async def test_load_asks_whole_blocks_and_nothing_twice(tmp_path: Path) -> None:
    requests = [Request(str(i), ("a", "b"), (10 + i, 10 + i), (4, 5)) for i in range(24)]
    asked: list[str] = []
    at_work = most = 0

    async def ask(request: Request) -> None:
        nonlocal at_work, most
        asked.append(request.question)
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.02)
        at_work -= 1

    server = running(tmp_path)
    try:
        settings = {"callers": 3, "seconds": 0.07, "block": 8}
        window = await closed_loop(server, ask, requests, "pairs", **settings)
        assert asked == [str(i) for i in range(16)]  # 3 callers ask 12 in 0.08 s, and go on to the end of the block
        assert most == 3
        assert (window.pairs, window.tokens, window.answer_tokens) == (32, 2 * sum(range(10, 26)), 16 * 9)
        assert 15 < window.latency_ms(50) < 60
        await closed_loop(server, ask, requests, "pairs", callers=3, seconds=0.0, block=8)
        assert asked == [str(i) for i in range(24)]
        with pytest.raises(RanOut):
            await closed_loop(server, ask, requests, "pairs", callers=3, seconds=0.0, block=8)
    finally:
        server.process.stop()


def test_ratios_are_medians_of_rounds_and_what_is_missing_is_named(tmp_path: Path) -> None:
    findings = Findings()
    for mine, theirs in ((10.0, 20.0), (30.0, 40.0), (9.0, 10.0)):
        findings.add(MANY, OURS, {"CPU ms/pair": mine, "pairs/s": 3.0, "p50 ms": 10.0, "p99 ms": 12.5})
        findings.add(MANY, "vLLM", {"CPU ms/pair": theirs, "pairs/s": 2.0})
    bars, unmeasured = bars_of(findings)
    held = {bar.name: (bar.value, bar.holds) for bar in bars}
    assert held["fp32, 64 callers: CPU a pair, ours / vLLM"] == (0.75, False)  # of 0.5, 0.75, 0.9; at most 0.70
    assert held["fp32, 64 callers: pairs a second, ours / vLLM"] == (1.5, True)
    assert held["64 callers: p99 / p50"] == (1.25, True)
    assert "fp32, 64 callers: CPU a pair, ours / Triton, padded" in unmeasured
    findings.missing["bf16"] = "no such instructions"
    findings.write(tmp_path / "figures.json")
    again = Findings.read(tmp_path / "figures.json")
    assert (again.figures, again.missing) == (findings.figures, findings.missing)
    assert not Findings.read(tmp_path / "none.json").figures
