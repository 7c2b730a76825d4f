"""Rounds with a SIMULATED ranker: two rounds in full, K = 9 against K = 4, active choice against random.

python benchmarks/rounds.py [--base DIRECTORY] [--parts two-rounds k active]; about an hour on two cores, 4 more
where --base has no language model yet. The ranker is the VADER lexicon with noise fitted to one person's 0.84 of pairs,
and the judge the lexicon without noise: nothing here was ranked or judged by a person.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from result_file import RESULTS
from rewardplane.trainer.demo.package_index import cache_directory
from rewardplane.trainer.labelling.items import read_items
from rewardplane.trainer.rounds.lexicon_ranker import fit_noise, item_scores
from rewardplane.trainer.versions import collect_versions
from rounds_parts import active, answers_ranked, two_rounds
from rounds_parts.base import prepared
from rounds_parts.learning import SimulatedPerson
from rounds_parts.page import markdown

PARTS = ("two-rounds", "k", "active")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("build/rounds/base"), help="where the language model is kept")
    parser.add_argument("--directory", type=Path, default=Path("build/rounds"), help="where rounds and findings go")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="findings of the others are kept")
    options = parser.parse_args()
    directory = options.directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    base = prepared(options.base.absolute(), cache_directory(os.environ))
    for part in options.parts:
        if part == "two-rounds":
            two_rounds.measure_all(base, directory)
            continue
        items = read_items(two_rounds.round_directory(directory, "near", 0, 1))
        person = SimulatedPerson(items, fit_noise(item_scores(items)))
        measure = answers_ranked.measure if part == "k" else active.measure
        found = measure(base.reward, person, len(items), directory / part)
        (directory / f"{part}.json").write_text(json.dumps(found, indent=1) + "\n")
    write_findings(directory)


def write_findings(directory: Path) -> None:
    """results/rounds.json and .md, of what was measured so far."""
    rows, missing = two_rounds.kept_rows(directory)
    kept = {part: directory / f"{part}.json" for part in PARTS[1:]}
    versions = dict(collect_versions())
    content = {
        "command": "python benchmarks/rounds.py",
        "hardware": versions.pop("machine"),
        "versions": versions,
        "simulated": "the ranker is a lexicon with noise and the judge the lexicon without: no person ranked anything",
        "not measured": missing + [part for part, path in kept.items() if not path.exists()],
        "two-rounds": rows,
        **{part: json.loads(path.read_text()) for part, path in kept.items() if path.exists()},
    }
    (RESULTS / "rounds.json").write_text(json.dumps(content, indent=1) + "\n")
    (RESULTS / "rounds.md").write_text(markdown(content))
    print((RESULTS / "rounds.md").read_text())


if __name__ == "__main__":
    main()
