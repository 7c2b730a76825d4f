"""`rewardplane eval reward`: from a directory and through a server, with the same numbers."""

import json
import re
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardplane.trainer.__main__ import evaluate
from rewardplane.trainer.data import read_ranked
from rewardplane.trainer.evaluation.scoring import score_with_model
from servers import Served, served
from tiny_encoders import save_encoder
from tiny_models import REWARD_OFFSET

from rewardplane.modeling.models import load_reward_model, score
from rewardplane.wire import TextPair

WORDS = ["good", "long", "film", "would", "see", "it", "again", "hoped", "what", "did", "you", "think", "end", "not"]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def some_rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        k = int(rng.integers(2, 6))
        answers = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(k)]
        question: Any = f"{i}: what did you think?"
        if i % 3 == 0:
            question = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": question}]
        ranks = [None if rng.random() < 0.1 else int(rank) for rank in rng.integers(0, k, k)]
        rows.append({"question": question, "answers": answers, "ranks": ranks, "source": ["<b>one", "two"][i % 2]})
    return rows


def run(directory: Path, *arguments: object) -> dict[str, Any]:
    assert evaluate(["reward", *map(str, arguments), "--directory", str(directory)]) == 0
    found: dict[str, Any] = json.loads((directory / "evaluation.json").read_text())
    return found


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "rows.jsonl", some_rows(60))


def test_a_directory_and_a_server_give_the_same_numbers(
    rows_file: Path, reward_dir: Path, reward_server: Served, tmp_path: Path
) -> None:
    local = run(tmp_path / "local", rows_file, "--model", reward_dir, "--device", "cpu")
    served = run(tmp_path / "served", rows_file, "--target", reward_server.target)
    tokens = run(tmp_path / "tokens", rows_file, "--target", reward_server.target, "--tokenizer", reward_dir)
    assert local.pop("scored_by") == str(reward_dir)
    assert served.pop("scored_by") == tokens.pop("scored_by") == reward_server.target
    assert local == served == tokens
    assert local["checkpoint_digest"] == reward_server.server.engine.model.version.checkpoint_digest
    assert [part["name"] for part in local["by_source"]] == ["<b>one", "two"]


def test_an_encoder_is_measured_alike_from_a_directory_and_through_a_server(tmp_path: Path) -> None:
    model = save_encoder(tmp_path / "encoder")
    rows = [row for row in some_rows(30) if isinstance(row["question"], str)]
    rows.append({"question": " ".join(WORDS * 9), "answers": ["good", "bad"], "ranks": [0, 1]})  # too long: 128 tokens
    path = write(tmp_path / "rows.jsonl", rows)
    local = run(tmp_path / "local", path, "--model", model, "--device", "cpu")
    with served("reward", model) as server:
        through = run(tmp_path / "served", path, "--target", server.target, "--tokenizer", model)
    assert local["cut_questions"] == through["cut_questions"] == 1
    # Padding differs with the batch, and so does the rounding.
    assert through["mean_score"] == pytest.approx(local["mean_score"], abs=1e-5)
    assert through["accuracy"] == local["accuracy"]
    assert through["kendall_tau_b"] == local["kendall_tau_b"]


def test_scores_are_those_of_one_pair_at_a_time(reward_dir: Path, rows_file: Path) -> None:
    rows = [row for row in read_ranked(rows_file) if isinstance(row.question, str)][:4]
    loaded = load_reward_model(reward_dir, torch.float32)
    scored = score_with_model(reward_dir, rows, lambda chunks: chunks, device="cpu")
    for row, own in zip(rows, scored.scores, strict=True):
        pairs = [loaded.encoder.encode(TextPair(str(row.question), answer)) for answer in row.answers]
        alone = [float(score(loaded, [pair])[0]) for pair in pairs]
        np.testing.assert_allclose(own, alone, atol=1e-5)
    assert loaded.reward_offset == REWARD_OFFSET


def test_flipped_and_shuffled_files(reward_dir: Path, tmp_path: Path) -> None:
    rows = [{**row, "question": f"{i}"} for i, row in enumerate(some_rows(80, seed=1))]
    path = write(tmp_path / "rows.jsonl", rows)
    scored = score_with_model(reward_dir, read_ranked(path), lambda chunks: chunks, device="cpu")
    rng = np.random.default_rng(2)
    for row, own in zip(rows, scored.scores, strict=True):
        noisy = own + rng.normal(0, own.std(), len(own))  # an order that the model mostly finds
        row["ranks"] = np.argsort(np.argsort(-noisy)).tolist()
    straight = run(tmp_path / "a", write(path, rows), "--model", reward_dir)["accuracy"]
    flipped = [{**row, "ranks": [len(row["ranks"]) - 1 - rank for rank in row["ranks"]]} for row in rows]
    reverse = run(tmp_path / "b", write(path, flipped), "--model", reward_dir)["accuracy"]
    dealt = [{**row, "ranks": rng.permutation(row["ranks"]).tolist()} for row in rows]
    chance = run(tmp_path / "c", write(path, dealt), "--model", reward_dir)["accuracy"]
    assert straight["low"] > 0.6
    assert reverse["value"] == pytest.approx(1 - straight["value"], abs=1e-12)
    assert chance["low"] < 0.5 < chance["high"]


def test_long_questions_are_cut_alike_and_answers_without_room_left_out(
    reward_dir: Path, reward_server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The model takes 256 tokens: the first question is cut, and the second row loses its long answer.
    long = " ".join(WORDS * 25)
    rows = [
        {"question": long, "answers": ["good", "bad"], "ranks": [0, 1]},
        {"question": "Q", "answers": ["the end", long, "good"], "ranks": [2, 0, 1]},
        {"question": "Q", "answers": ["good", "long"], "ranks": [1, 0]},
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    local = run(tmp_path / "a", path, "--model", reward_dir)
    tokens = run(tmp_path / "b", path, "--target", reward_server.target, "--tokenizer", reward_dir)
    del local["scored_by"], tokens["scored_by"]
    assert local == tokens
    assert (local["cut_questions"], local["dropped_answers"], local["answers"]) == (1, 1, 6)
    # One pair a row: the second row keeps "the end" and "good".
    assert local["accuracy"]["count"] == 3
    # By length: "good" before "bad" right, "good" before "the end" wrong, "long" before "good" one half.
    assert local["length_baseline"]["value"] == 0.5
    capsys.readouterr()
    assert evaluate(["reward", str(path), "--target", reward_server.target, "--directory", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"{path}:1: answers[0] has " in said
    assert f"{path}:2: answers[1] has " in said
    assert "--tokenizer DIR" in said
    assert not (tmp_path / "evaluation.json").exists()


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.references: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [str(value) for key, value in attrs if key in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_fetches_nothing(rows_file: Path, reward_dir: Path, tmp_path: Path) -> None:
    run(tmp_path, rows_file, "--model", reward_dir)
    source = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    page = Page(source)
    assert not {"script", "img", "iframe", "link", "object", "b"} & page.tags
    assert all(reference.startswith("#") for reference in page.references)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", source))
    assert "<b>one" in page.text
    titles = ("by answers a question", "by source", "by difference in length", "Calibration", "Scores")
    assert source.count("<svg") == 5
    assert all(title in page.text for title in titles)
    pictures = "".join(re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL))
    assert not re.findall(r"#[0-9a-f]{6}\b", pictures)  # every colour is the page's
    assert "prefers-color-scheme: dark" in source
    assert "width=device-width" in source


def test_several_files_are_sources_and_a_split_is_chosen(reward_dir: Path, tmp_path: Path) -> None:
    rows = [{"question": "Q", "answers": ["good", "bad"], "ranks": [0, 1], "split": split} for split in ("a", "b")]
    one, other = (write(tmp_path / f"{name}.jsonl", rows) for name in ("film", "tweets"))
    found = run(tmp_path, one, other, "--model", reward_dir, "--split", "b")
    assert [(part["name"], part["accuracy"]["count"]) for part in found["by_source"]] == [("film", 1), ("tweets", 1)]


def test_what_cannot_be_measured_is_explained(
    rows_file: Path, reward_dir: Path, reference_server: Served, sft_dir: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    where = ["--directory", str(tmp_path)]
    for arguments, status, told in [
        (["--target", reference_server.target], 1, "does not score: is it the reference?"),
        (["--model", sft_dir], 1, "a reward model is a ...ForSequenceClassification with one"),
        (["--model", tmp_path / "none"], 1, "no Hugging Face model directory"),
        (["--model", reward_dir, "--split", "x"], 1, "has no row of split x"),
        ([], 2, "give either --model or --target"),
        (["--model", reward_dir, "--target", "x:1"], 2, "give either --model or --target"),
        (["--model", reward_dir, "--tokenizer", reward_dir], 2, "--tokenizer goes with --target"),
    ]:
        assert evaluate(["reward", str(rows_file), *map(str, arguments), *where]) == status
        assert told in re.sub(r"[│\s]+", " ", capsys.readouterr().err)


def test_another_tokenizer_is_refused(
    rows_file: Path, reward_server: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str], reward_dir: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(reward_dir, other)
    path = other / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = content["model"]["merges"][:-1]
    path.write_text(json.dumps(content))
    arguments = ["reward", str(rows_file), "--target", reward_server.target, "--tokenizer", str(other)]
    assert evaluate([*arguments, "--directory", str(tmp_path)]) == 1
    assert "and the server at" in capsys.readouterr().err
