"""PPO on a model of children's stories: how far does the judge rise, at what KL, and is it the reward that moves it?

python benchmarks/stories.py; about 35 CPU minutes, of which the reward model takes 9 and a PPO run 2 to 3.
A reward model of people's ratings is trained once. Then PPO at the main kl_coef on every seed, at the other
coefficients, and with the reward's sign flipped; beside them the best of n answers of the untrained model. The judge is
the VADER lexicon, which never saw the reward model. The model of stories and the stories are no part of the repository
(--data); without them the script says so and ends. What is finished is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from result_file import RESULTS, Bar, write_results
from rewardplane.trainer.demo.package_index import cache_directory
from rewardplane.trainer.demo.servers import serving
from rewardplane.trainer.demo.vader_data import load_rated_texts
from stories_parts.curve import draw_curve
from stories_parts.data import rating_files, read_stories, story_files
from stories_parts.judged import Row, in_spreads, judged_row
from stories_parts.learned import SAMPLES, Recipe, trained_reward
from stories_parts.settings import Variant
from transformers import AutoTokenizer

MAIN_COEF = 0.035
BEST_OF = (2, 4, 8, 16, 32)
HELD_OUT_PROMPTS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="where model and stories are")
    parser.add_argument("--directory", type=Path, default=Path("runs/stories"), help="where everything is trained")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--coefs", type=float, nargs="*", default=[0.1, 0.05, 0.0], help="other values of kl_coef")
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--note", default="", help="joins the results")
    options = parser.parse_args()
    model, stories = options.data / "models" / "stories260k", options.data / "datasets" / "tinystories_sample.jsonl"
    if not model.is_dir() or not stories.is_file():
        print(f"skipped: no {model} and {stories}; --data names another place")
        return
    torch.set_num_threads(1)  # 260,000 parameters: a second thread waits for the first
    directory = options.directory
    files = story_files(
        read_stories(stories), AutoTokenizer.from_pretrained(model), HELD_OUT_PROMPTS, directory / "data"
    )
    ratings = rating_files(load_rated_texts(cache_directory(os.environ)), directory / "data" / "ratings")
    reward = trained_reward(ratings, model, directory / "reward")
    logs = directory / "logs"
    with serving("reward", reward.checkpoint, logs) as reward_at, serving("reference", model, logs) as reference_at:
        recipe = Recipe(model, files, reward.checkpoint, (reward_at, reference_at), directory, options.updates)
        write_findings(recipe, reward.accuracy, options.seeds, options.coefs, options.note)


def write_findings(recipe: Recipe, accuracy: float, seeds: Sequence[int], coefs: Sequence[float], note: str) -> None:
    variants = [Variant(MAIN_COEF, seed) for seed in seeds]
    variants += [Variant(MAIN_COEF, sign=-1), *(Variant(coef) for coef in coefs)]
    runs = [recipe.judged(variant) for variant in variants]
    reference = recipe.asked(recipe.model, max(BEST_OF))
    rows = [judged_row("reference", recipe.questions, reference), *(run.row for run in runs)]
    rows += [judged_row(f"best of {n}", recipe.questions, reference, n) for n in BEST_OF]
    rows = in_spreads(rows, reference)
    bars = [Bar("reward model on held-out film texts", accuracy, "at least 0.65"), *bars_of(rows, len(seeds))]
    samples = zip(recipe.questions, reference.texts()[:SAMPLES], runs[0].samples, strict=False)
    path = write_results(
        "stories", "python benchmarks/stories.py", rows, bars, f"{note}\n\n{sample_table(list(samples))}".strip()
    )
    draw_curve(rows, RESULTS / "stories.svg")
    print(path.with_suffix(".md").read_text())
    print(json.dumps({"rows": rows, "bars": {bar.name: [bar.value, bar.goal, bar.holds] for bar in bars}}))


def bars_of(rows: Sequence[Row], seeds: int) -> list[Bar]:
    """`rows`: the reference's, then one a seed, then others, the control's among them."""
    bars = []
    for row in rows[1 : 1 + seeds]:
        bars += [
            Bar(f"{row['run']}: judge", number(row, "judge"), "at least 0.8"),
            Bar(f"{row['run']}: KL, nats an answer", number(row, "kl_nats"), "at most 11"),
            Bar(f"{row['run']}: distinct bigrams", number(row, "distinct_bigrams_ratio"), "at least 0.35"),
        ]
    flipped = next(row for row in rows if str(row["run"]).startswith("sign flipped"))
    return [*bars, Bar("sign flipped: judge's rise", number(flipped, "judge") - number(rows[0], "judge"), "at most 0")]


def number(row: Row, name: str) -> float:
    return float(str(row[name]))


def sample_table(samples: Sequence[tuple[str, str, str]]) -> str:
    """Question, answer of the reference, answer of the policy: the first seed's."""
    lines = ["| beginning | reference | policy |", "|---|---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(" ".join(x.split()) for x in row) + " |" for row in samples)])


if __name__ == "__main__":
    main()
