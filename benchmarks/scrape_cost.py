"""What being scraped costs a server: CPU of a scrape, as a share of the time between two.

python benchmarks/scrape_cost.py; half a minute. CPU and not time, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import urllib.request
from pathlib import Path

from result_file import Bar, write_results
from rewardplane.trainer.demo.servers import serving
from rewardplane.trainer.sft.config import FromScratchConfig
from rewardplane.trainer.sft.from_scratch import new_model, train_tokenizer

from rewardplane import Client
from rewardplane.modeling.checkpoint import save_checkpoint
from rewardplane.modeling.encoding import PairEncoder

USUAL_INTERVAL_S, SHORT_INTERVAL_S = 15.0, 1.0
NOTE = """User and system time of a reference server, once it has answered calls, while nothing else is asked. As a
share of one core, it is the most throughput that scrapes can take from a server of one thread."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrapes", type=int, default=300)
    scrapes = parser.parse_args().scrapes
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model")
        with serving("reference", folder / "model", folder) as target:
            with Client(target) as client:
                client.logprobs([("What did you think of it?", "It was good.")] * 8)
            port = json.loads((folder / "reference.ports.json").read_text())["metrics_port"]
            url = f"http://127.0.0.1:{port}/metrics"
            size, cpu_s = len(page(url)), cpu_of_a_scrape(url, scrapes)
    bars = [
        Bar(f"CPU of a scrape every {interval:g} s, % of a core", 100 * cpu_s / interval, "at most 1")
        for interval in (USUAL_INTERVAL_S, SHORT_INTERVAL_S)
    ]
    rows = [{"scrapes": scrapes, "bytes of a page": size, "CPU ms of a scrape": 1000 * cpu_s}]
    command = f"python benchmarks/scrape_cost.py --scrapes {scrapes}"
    path = write_results("scrape_cost", command, rows, bars, NOTE.replace("\n", " "))
    print(path.with_suffix(".md").read_text())


def make_model(directory: Path) -> None:
    tokenizer = train_tokenizer(["What did you think of it? It was good, and the end was not."] * 20, 320)
    model = new_model(FromScratchConfig(), tokenizer, seed=0)
    encoder = PairEncoder(tokenizer, [tokenizer.eos_token_id], model.config.vocab_size)
    save_checkpoint(
        directory, model, tokenizer, tokenizer_fingerprint=encoder.fingerprint, model_name="scraped", kind="sft"
    )


def cpu_of_a_scrape(url: str, scrapes: int) -> float:
    """In seconds; the server says itself what it has used."""
    before = cpu_seconds(page(url))
    for _ in range(scrapes - 1):
        page(url)
    return (cpu_seconds(page(url)) - before) / scrapes


def page(url: str) -> bytes:
    with urllib.request.urlopen(url) as reply:
        content: bytes = reply.read()
    return content


def cpu_seconds(metrics: bytes) -> float:
    line = next(line for line in metrics.splitlines() if line.startswith(b"process_cpu_seconds_total "))
    return float(line.split()[1])


if __name__ == "__main__":
    main()
