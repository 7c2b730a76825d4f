"""`rewardplane data`: what it counts, on files small enough to count by hand and on the real ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.__main__ import data
from rewardplane.trainer.data import read_ranked

from rewardplane.wire import ChatMessage

REAL = Path(__file__).parents[3] / "shared" / "data" / "datasets"


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(question: Any, answers: list[str], ranks: list[int | None], **more: Any) -> dict[str, Any]:
    return {"question": question, "answers": answers, "ranks": ranks, **more}


def report(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert data(["check", "--json", *map(str, arguments)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_counts_k_ties_and_unknown_ranks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        tmp_path / "r.jsonl",
        row("1", ["a", "b", "c"], [0, 0, 1]),  # 2 pairs, 1 tied
        row("2", ["a", "b"], [3, 3]),  # all tie
        row("3", ["a", "b", "c"], [0, None, 2]),  # 1 pair
        row("4", ["a", "b"], [None, 0]),  # no pair
        row("5", ["a", "b", "c", "d"], [3, 1, 0, 2], source="x"),  # 6 pairs
    )
    [file] = report(capsys, path)["files"]
    assert (file["questions"], file["answers"], file["sources"]) == (5, 14, {"x": 1})
    assert file["ranks"] == {
        "answers_per_question": {"2": 2, "3": 2, "4": 1},
        "pairs": 9, "tied_pairs": 2, "all_tied": 1, "unknown_ranks": 2, "without_pair": 2,
    }  # fmt: skip


def test_repeats_are_named_by_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = [{"role": "user", "content": "1"}]
    path = write(
        tmp_path / "r.jsonl",
        row("1", ["a", "b"], [0, 1]),
        row("1", ["b", "a"], [1, 0]),  # the same ranking
        row("1", ["a", "b"], [1, 0]),  # the other order
        row("1", ["a", "c"], [0, 1]),  # the same question alone
        row(chat, ["a", "b"], [0, 1]),  # a conversation is another question than a text
        row("2", ["a", "a", "b"], [0, 0, 1]),  # one answer twice
        row("3", ["a", "a"], [0, 1]),  # ... with different ranks
    )
    repeats = report(capsys, path)["files"][0]["repeats"]
    lines = {name: [int(place.rpartition(":")[2]) for place in found["places"]] for name, found in repeats.items()}
    assert lines == {
        "questions": [2, 3, 4], "rows": [2, 3], "answers": [6, 7], "contradictions": [7], "opposed": [3],
    }  # fmt: skip
    assert repeats["questions"]["count"] == 3


def test_length_bias_is_counted_over_pairs_of_different_length(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(
        tmp_path / "r.jsonl",
        row("1", ["longest one", "longer", "x"], [0, 1, 2]),  # 3 of 3
        row("2", ["x", "longer", "y"], [0, 1, 2]),  # x < longer, longer > y; x and y do not count: 1 of 2
    )
    [file] = report(capsys, path)["files"]
    bias = file["longer_wins"]["characters"]
    assert (bias["value"], bias["count"], bias["questions"]) == (4 / 5, 5, 2)
    # Resampled, both questions can be the first or the second one: 1/2 to 1.
    assert (bias["low"], bias["high"]) == (0.5, 1.0)
    lengths = {(one["part"], one["unit"]): one["quantiles"] for one in file["lengths"]}
    assert lengths["answer", "characters"][0] == 1
    assert lengths["answer", "characters"][-1] == 11
    assert lengths["longest pair", "words"][-1] == 3  # "1" and "longest one"


def test_leaks_are_found_whatever_case_and_white_space(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = write(tmp_path / "train.jsonl", row("Who? ", ["Me.", "You."], [0, 1]), row("When?", ["Now."] * 2, [0, 1]))
    test = write(
        tmp_path / "test.jsonl",
        row("who?", ["me.", "They."], [0, 1]),  # question, and with an answer
        row("When?", ["Later.", "Never."], [0, 1]),  # question
        row("Where?", ["now.", "Here."], [0, 1]),  # answer
        row("How?", ["Well.", "Badly."], [0, 1]),
    )
    [leak] = report(capsys, train, "--heldout", test)["leaks"]
    assert (leak["seen"], leak["heldout"], leak["rows"]) == (str(train), "held out", 4)
    assert [leak[name]["places"] for name in ("questions", "pairs", "answers")] == [
        [f"{test}:1", f"{test}:2"], [f"{test}:1"], [f"{test}:1", f"{test}:3"],
    ]  # fmt: skip


def test_splits_that_rows_name_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = row("Q", ["a", "b"], [0, 1], split="test"), row("Q", ["c", "d"], [0, 1], split="train")
    path = write(tmp_path / "r.jsonl", one, two)
    [leak] = report(capsys, path)["leaks"]
    assert (leak["seen"], leak["heldout"], leak["questions"]["places"]) == ("train", "test", [f"{path}:1"])
    assert leak["answers"]["count"] == 0


def test_the_tables_say_it_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(str(i), ["long answer", "short"], [int(i == 9), int(i != 9)]) for i in range(10)]
    path = write(tmp_path / "r[bold].jsonl", *rows)
    assert data(["check", str(path)]) == 0
    said = capsys.readouterr().out
    assert "r[bold].jsonl" in said.replace("\n", "")
    assert "The longer answer (in characters) wins in 90.0 % of pairs" in said
    assert "K=2:\N{NO-BREAK SPACE}10" in said


def test_a_bad_file_is_named_by_line_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.jsonl", row("Q", ["a", "b"], [0, 1]))
    bad = write(tmp_path / "bad.jsonl", row("Q", ["a", "b"], [0, 1]), row("Q", ["a", ""], [0, 1]))
    assert data(["check", str(good), "--heldout", str(bad)]) == 1
    assert capsys.readouterr().err == f"error: {bad}:2: answers[1] is empty\n"
    assert data(["check", str(tmp_path / "none.jsonl")]) == 1
    assert data(["check"]) == 2
    assert data(["check", str(good), "--tokenizer", str(tmp_path / "none")]) == 1


def test_what_is_converted_is_read_as_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chat = [{"role": "user", "content": "Ümläut\u2028?"}]
    source = write(
        tmp_path / "in.jsonl",
        {"chosen": [*chat, {"role": "assistant", "content": "a"}], "rejected": [*chat, {"role": "x", "content": "b"}]},
        row("Q", ["a", "b"], [None, 5], source="s", split="train"),
        row("Q", ["a", "b"], [0]),
    )
    out = tmp_path / "out.jsonl"
    assert data(["convert", str(source), str(out)]) == 1
    assert not out.exists()
    assert data(["convert", str(source), str(out), "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert said.out == f"2 rankings: {out}\n"
    assert f"left out: {source}:3: has 1 ranks for 2 answers" in said.err
    skipped: list[str] = []
    assert read_ranked(out) == read_ranked(source, skipped)
    assert read_ranked(out)[0].question == (ChatMessage("user", "Ümläut\u2028?"),)
    assert data(["convert", str(source), str(out), "--skip-bad"]) == 1  # nothing is overwritten
    split = tmp_path / "train.jsonl"
    assert data(["convert", str(out), str(split), "--split", "train"]) == 0
    assert [one.split for one in read_ranked(split)] == ["train"]
    assert data(["convert", str(out), str(tmp_path / "x"), "--split", "dev"]) == 1
    assert "no row of split dev; its splits are train" in capsys.readouterr().err


def test_a_check_does_not_wait_for_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", row("Q", ["a", "b"], [0, 1]))
    program = (
        "import sys; from rewardplane.trainer.__main__ import data\n"
        f"assert data(['check', {str(path)!r}]) == 0\n"
        "assert not {'torch', 'transformers', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


@pytest.mark.skipif(not REAL.exists(), reason="needs the data files beside the repository")
@pytest.mark.parametrize(
    # Counted by a throw-away script from the files themselves, and given in their descriptions.
    ("name", "pairs", "all_tied", "bias"),
    [("oasst_kwise", 509, 0, 368 / 509), ("qa_feedback_kwise", 2156, 10, None), ("vader_movie_kwise4", 13431, 0, None)],
)
def test_the_real_files_hold_what_was_counted_otherwise(
    capsys: pytest.CaptureFixture[str], name: str, pairs: int, all_tied: int, bias: float | None
) -> None:
    [file] = report(capsys, REAL / f"{name}.jsonl")["files"]
    assert (file["ranks"]["pairs"], file["ranks"]["all_tied"]) == (pairs, all_tied)
    assert bias is None or file["longer_wins"]["characters"]["value"] == bias
