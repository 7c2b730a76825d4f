"""Rounds with a SIMULATED ranker: two rounds in full, K = 9 against K = 4, active choice against random.

python benchmarks/rounds.py [--base DIRECTORY] [--parts two-rounds k active]; about 20 minutes on two cores, 4 more
where --base has no language model yet. The ranker is the VADER lexicon with noise fitted to one person's 0.84 of pairs,
and the judge the lexicon without noise: nothing here was ranked or judged by a person.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from result_file import Bar
from rewardplane.trainer.demo.package_index import cache_directory
from rewardplane.trainer.labelling.items import read_items
from rewardplane.trainer.rounds.lexicon_ranker import fit_noise, item_scores
from rounds_parts import active, answers_ranked, two_rounds
from rounds_parts.base import prepared
from rounds_parts.learning import SimulatedPerson
from rounds_parts.seeds import over_seeds

PARTS = ("two-rounds", "k", "active")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("build/rounds/base"), help="where the language model is kept")
    parser.add_argument("--directory", type=Path, default=Path("build/rounds"), help="where rounds and findings go")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="of the two rounds")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="findings of the others are kept")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    base = prepared(options.base.absolute(), cache_directory(os.environ))
    found: dict[str, list[dict[str, object]]] = {}
    bars: list[Bar] = []
    if "two-rounds" in options.parts:
        found["two rounds"] = [two_rounds.measure(base, options.directory.absolute(), seed) for seed in options.seeds]
    items = read_items(two_rounds.round_directory(options.directory.absolute(), options.seeds[0], 1))
    person = SimulatedPerson(items, fit_noise(item_scores(items)))
    if "k" in options.parts:
        found["K"], by_arm = answers_ranked.measure(base.sft, person, len(items), options.directory)
        gain = [a - b for a, b in zip(by_arm["K = 9"], by_arm["K = 4, equal seconds"], strict=True)]
        bars.append(Bar("K = 9 minus K = 4 at equal seconds, low end", over_seeds(gain)[1], "at least 0"))
    if "active" in options.parts:
        found["active choice"], by_choice = active.measure(base.sft, person, len(items), options.directory)
        for name in ("margin", "disagreement"):
            gain = [a - b for a, b in zip(by_choice[name], by_choice["random"], strict=True)]
            bars.append(Bar(f"{name} minus random, low end", over_seeds(gain)[1], "at least 0"))
    findings = options.directory / "findings.json"
    findings.write_text(json.dumps({"found": found, "bars": [vars(bar) for bar in bars]}, indent=1))
    print(findings.read_text())


if __name__ == "__main__":
    main()
