"""Scoring services side by side: ours, vLLM, FastAPI, Triton, and the same model without any server.

python benchmarks/serving.py [--quick] [--peers DIRECTORY]; about 15 minutes on two cores, once the peers are
installed (each into an environment of its own below --peers, 6 GB in all). Every server may use all cores, with its
own defaults, is a process of its own, and is asked by this one; rounds go from server to server. Server CPU is that of
its whole process tree. The last line is JSON with the ratios. `--parts scores --figures FILE`, then `--parts bf16`...:
measures in several runs, and adds to the figures in FILE.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from result_file import write_results
from rewardplane.services.common.cores import available_cores
from serving_parts.assets import Assets
from serving_parts.bars import bars_of
from serving_parts.cases import (
    Plan,
    measure_bfloat16,
    measure_head,
    measure_logprobs,
    measure_scores,
    measure_sharing,
)
from serving_parts.findings import Findings
from serving_parts.worker import Worker

PARTS = ("scores", "bf16", "log-probs", "sharing", "head")
CACHE = Path.home() / ".cache" / "rewardplane"
COLUMNS = ("pairs/s", "CPU ms/pair", "CPU us/token", "p50 ms", "p99 ms", "MB")
NOTE = """Medians over {rounds} rounds, ratios too; ours and the peers take turns. CPU is user and system time of a
server's whole process tree; MB is its resident memory, shared pages once, and on the log-prob head's rows the extra
peak memory. `offline` is the same work, from the same texts, in a process without a server. Model:
LlamaForSequenceClassification, hidden 256, 6 layers, 4 heads, vocabulary 32000, random weights; pairs of 20 to 512
tokens, 162 on average, each asked once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round; nothing is written")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of one window, at least")
    parser.add_argument("--peers", type=Path, default=CACHE / "peers", help="where the peers' environments are")
    parser.add_argument("--assets", type=Path, default=CACHE / "serving-assets", help="where model and texts are")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of every server")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--figures", type=Path, help="file of figures that earlier runs left; is written again")
    options = parser.parse_args()
    rounds, seconds = (1, 2.0) if options.quick else (options.rounds, options.seconds)
    assets = prepared(options.assets)
    with tempfile.TemporaryDirectory() as logs:
        plan = Plan(assets, options.peers, Path(logs), rounds, seconds, options.threads)
        findings = Findings.read(options.figures) if options.figures else Findings()
        asyncio.run(measure(plan, options.parts, findings))
    if options.figures:
        findings.write(options.figures)
    bars, unmeasured = bars_of(findings)
    if not options.quick:
        missing = [f"Not measured: {what}: {why}." for what, why in findings.missing.items()]
        note = "\n\n".join([NOTE.format(rounds=rounds).replace("\n", " "), *missing])
        command = f"python benchmarks/serving.py --rounds {rounds} --seconds {seconds:g} --threads {options.threads}"
        path = write_results(page(), command, findings.rows(COLUMNS), bars, note)
        print(path.with_suffix(".md").read_text())
    ratios = {bar.name: {"value": round(bar.value, 6), "goal": bar.goal, "holds": bar.holds} for bar in bars}
    print(json.dumps({"ratios": ratios, "unmeasured": unmeasured}))


def page() -> str:
    """Where results go: what multiplies best is another question on each of these kinds of CPU."""
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512f" not in flags:
        return "serving_avx2"
    return "serving" if "avx512_bf16" in flags or "amx_bf16" in flags else "serving_avx512"


async def measure(plan: Plan, parts: Sequence[str], findings: Findings) -> None:
    with Worker(plan.assets) as worker:
        if "scores" in parts:
            await measure_scores(plan, worker, findings)
        if "bf16" in parts:
            await measure_bfloat16(plan, worker, findings)
        if "log-probs" in parts:
            await measure_logprobs(plan, worker, findings)
        if "sharing" in parts:
            measure_sharing(plan, worker, findings)
    if "head" in parts:
        measure_head(plan, findings)


def prepared(directory: Path) -> Assets:
    assets = Assets.at(directory)
    if not assets.pairs.exists():
        print(f"making model and texts in {directory}", flush=True)
        directory.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).parent / "serving_parts" / "assets.py"
        subprocess.run([sys.executable, str(script), str(directory)], check=True)
    return assets


if __name__ == "__main__":
    main()
