"""What being scraped costs a server: throughput with Prometheus coming every second and without it, in turns.

python benchmarks/scrape_cost.py; about a minute and a half. A reference server (Llama, 2 million parameters) with one
thread is a process of its own, and is kept full by eight callers. Prometheus usually comes every 15 seconds, not 1.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Self

import numpy as np
from result_file import Bar, write_results
from rewardplane.trainer.demo.servers import serving
from rewardplane.trainer.sft.config import FromScratchConfig
from rewardplane.trainer.sft.from_scratch import new_model, train_tokenizer

from rewardplane import Client
from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.wire import TokenPair

CALLERS, PAIRS, TOKENS = 8, 8, 48
IDLE_SCRAPES = 200
USUAL_INTERVAL_S = 15.0
NOTE = """Rows: pairs a second in windows of {seconds:g} s, which take turns; where other work shares the machine they
scatter by more than a scrape could cost. Bars: user and system time of the server over {scrapes} scrapes while nothing
else is asked, as a share of one core, which is the most throughput that they can take from a server of one thread."""


def make_model(directory: Path) -> None:
    config = FromScratchConfig()
    tokenizer = train_tokenizer(["What did you think of it? It was good, and the end was not."] * 20, 320)
    model = new_model(config, tokenizer, seed=0)
    encoder = PairEncoder(tokenizer, [tokenizer.eos_token_id], model.config.vocab_size)
    save_checkpoint(
        directory, model, tokenizer, tokenizer_fingerprint=encoder.fingerprint, model_name="scraped", kind="sft"
    )


class Load:
    """Callers that ask again as soon as they are answered."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._stop = threading.Event()
        self._done = [0] * CALLERS
        self._threads = [threading.Thread(target=self._ask, args=[number]) for number in range(CALLERS)]

    @property
    def pairs(self) -> int:
        return sum(self._done)

    def _ask(self, number: int) -> None:
        rng = np.random.default_rng(number)
        with Client(self._target) as client:
            client.info()
            while not self._stop.is_set():
                ids = rng.integers(3, 256, (PAIRS, 2, TOKENS), dtype=np.int32)
                client.logprobs([TokenPair(question, answer) for question, answer in ids])
                self._done[number] += PAIRS

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def pairs_per_s(load: Load, url: str, seconds: float, *, scraped: bool) -> float:
    before, began = load.pairs, time.monotonic()
    while (left := began + seconds - time.monotonic()) > 0:
        if scraped:
            scrape(url)
        time.sleep(min(1.0, max(left, 0.0)))
    return (load.pairs - before) / (time.monotonic() - began)


def scrape(url: str) -> int:
    """Gives the bytes of the page."""
    with urllib.request.urlopen(url) as reply:
        return len(reply.read())


def cpu_s(url: str) -> float:
    with urllib.request.urlopen(url) as reply:
        line = next(line for line in reply if line.startswith(b"process_cpu_seconds_total "))
    return float(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a window")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder) / "model")
        with serving("reference", Path(folder) / "model", Path(folder)) as target:
            url = metrics_url(Path(folder))
            rows, scrape_cpu_s = measure(target, url, options.rounds, options.seconds)
    bars = [
        Bar("CPU of a scrape, % of a core at every 15 s", 100 * scrape_cpu_s / USUAL_INTERVAL_S, "at most 1"),
        Bar("CPU of a scrape, % of a core at every second", 100 * scrape_cpu_s, "at most 1"),
    ]
    note = NOTE.format(seconds=options.seconds, scrapes=IDLE_SCRAPES).replace("\n", " ")
    command = f"python benchmarks/scrape_cost.py --rounds {options.rounds} --seconds {options.seconds:g}"
    print(write_results("scrape_cost", command, rows, bars, note).with_suffix(".md").read_text())


def metrics_url(folder: Path) -> str:
    port = json.loads((folder / "reference.ports.json").read_text())["metrics_port"]
    return f"http://127.0.0.1:{port}/metrics"


def measure(target: str, url: str, rounds: int, seconds: float) -> tuple[list[dict[str, object]], float]:
    rows: list[dict[str, object]] = []
    with Load(target) as load:
        pairs_per_s(load, url, seconds, scraped=False)  # warms up
        for number in range(rounds):
            both = {}
            for scraped in (number % 2 == 0, number % 2 == 1):  # neither is always first
                both["scraped" if scraped else "plain"] = pairs_per_s(load, url, seconds, scraped=scraped)
            rows.append({"round": number, "plain": both["plain"], "scraped": both["scraped"]})
    before = cpu_s(url)
    size = max(scrape(url) for _ in range(IDLE_SCRAPES))
    spent = (cpu_s(url) - before) / (IDLE_SCRAPES + 1)
    print(f"a page of {size:,} bytes, {1000 * spent:.2f} ms of CPU")
    return rows, spent


if __name__ == "__main__":
    main()
