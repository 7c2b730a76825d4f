"""What benchmarks/stories.py trains and tells, with tiny random models."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rewardplane.trainer.demo.answers import Answered
from servers import Served
from tiny_models import make_tokenizer
from transformers import AutoTokenizer

from rewardplane import Answer, TokenPair

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import stories  # noqa: E402
from stories_parts.curve import draw_curve  # noqa: E402
from stories_parts.data import PROMPT_TOKENS, read_questions, read_stories, story_files  # noqa: E402
from stories_parts.judged import in_spreads, judged_row  # noqa: E402
from stories_parts.learned import Recipe  # noqa: E402
from stories_parts.settings import Variant  # noqa: E402

DATA = Path(__file__).parents[2] / "shared" / "data"
STORIES = [f"{n} times the film was good, and it was long. The end was not what I had hoped for." for n in range(9)]


def answered(texts: list[list[str]], scores: list[list[float]], log_ratios: list[list[float]]) -> Answered:
    tokens = TokenPair(np.zeros(1, np.int32), np.zeros(1, np.int32))
    answers = tuple(tuple(Answer(text, tokens, np.zeros(1, np.float32), True) for text in row) for row in texts)
    return Answered(answers, np.array(scores, np.float32), np.array(log_ratios))


def test_best_of_two_takes_the_higher_score_of_each_pair_of_answers() -> None:
    texts = [["bad", "good", "a table", "bad"], ["good", "bad", "bad", "a table"]]
    four = answered(texts, [[1, 2, 5, 0], [3, 1, 2, 4]], [[1, 3, 0, 0], [4, 0, 0, 0]])
    best = judged_row("best of 2", ["", ""], four, 2)
    # Of (1, 2) and (3, 1): 2 and 3, both "good". Of (5, 0) and (2, 4): 5 and 4, both "a table", the only bigram.
    assert best["score"] == (2 + 3 + 5 + 4) / 4
    assert best["positive_ratio"] == 0.5
    assert best["distinct_bigrams_ratio"] == (0 + 1 / 2) / 2
    assert best["kl_nats"] == pytest.approx(0.1931, abs=1e-4)  # ln 2 - 1/2
    each = judged_row("reference", ["", ""], four)
    assert (each["score"], each["kl_nats"]) == (18 / 8, 1.0)
    # The reference's scores: mean 2.25, variance (1 + 4 + 25 + 0 + 9 + 1 + 4 + 16) / 8 - 2.25^2 = 2.4375.
    [row] = in_spreads([best], four)
    assert row["score"] == pytest.approx((3.5 - 2.25) / 2.4375**0.5)


def test_held_out_beginnings_begin_no_story_that_is_trained_on(tmp_path: Path) -> None:
    files = story_files([*STORIES, STORIES[0]], make_tokenizer(), 3, tmp_path)
    held_out, prompts = read_questions(files.prompts_heldout), read_questions(files.prompts)
    assert (len(held_out), len(prompts)) == (3, 6)
    assert not set(held_out) & set(prompts)
    trained = read_stories(files.stories)
    assert trained
    assert not [text for text in trained if text.startswith(tuple(held_out))]


def test_a_policy_is_trained_and_judged_once(
    sft_dir: Path, reward_dir: Path, reward_server: Served, reference_server: Served, tmp_path: Path
) -> None:
    files = story_files(STORIES, AutoTokenizer.from_pretrained(sft_dir), 3, tmp_path / "data")
    judges = (reward_server.target, reference_server.target)
    recipe = Recipe(sft_dir, files, reward_dir, judges, tmp_path, updates=1, answers=2)
    judged = recipe.judged(Variant(0.05))
    assert judged.row["run"] == "kl_coef 0.05, seed 0"
    assert 0 < float(str(judged.row["kl_nats"])) < 100
    assert len(judged.samples) == 3
    (tmp_path / "kl_coef-0.05-seed-0" / "metrics.jsonl").unlink()
    assert recipe.judged(Variant(0.05)) == judged
    assert not (tmp_path / "kl_coef-0.05-seed-0" / "metrics.jsonl").exists()


def test_bars_are_those_of_the_seeds_and_the_control(tmp_path: Path) -> None:
    figures = {"judge": 0.5, "score": 0.0, "kl_nats": 0.0, "distinct_bigrams_ratio": 0.5}
    learned = figures | {"judge": 0.9, "kl_nats": 12.0}
    names = ["kl_coef 0.05, seed 0", "kl_coef 0.1, seed 0", "sign flipped, kl_coef 0.05, seed 0", "best of 4"]
    rows = [{"run": "reference", **figures}, *({"run": name, **learned} for name in names)]
    bars = stories.bars_of(rows, 1)
    assert [(bar.value, bar.holds) for bar in bars] == [(0.9, True), (12.0, False), (0.5, True), (0.4, False)]
    draw_curve(rows, tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_bytes()
    draw_curve(rows, tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").read_bytes() == drawn


def test_without_the_model_the_script_says_so_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["stories.py", "--data", str(tmp_path)])
    stories.main()
    assert capsys.readouterr().out.startswith("skipped: no ")


def test_beginnings_are_twelve_tokens_of_the_real_stories(tmp_path: Path) -> None:
    model, texts = DATA / "models" / "stories260k", DATA / "datasets" / "tinystories_sample.jsonl"
    if not model.is_dir():
        pytest.skip(f"no {model}")
    tokenizer = AutoTokenizer.from_pretrained(model)
    files = story_files(read_stories(texts), tokenizer, stories.HELD_OUT_PROMPTS, tmp_path)
    held_out = read_questions(files.prompts_heldout)
    assert len(held_out) == 256
    assert max(len(tokenizer(q, add_special_tokens=False)["input_ids"]) for q in held_out) <= PROMPT_TOKENS
    assert len(json.loads(files.prompts.read_text().splitlines()[0])["question"]) > PROMPT_TOKENS
