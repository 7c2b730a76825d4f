"""What the readers accept, and how they name what they do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.data import (
    BadData,
    Demonstration,
    RankedAnswers,
    read_demonstrations,
    read_prompts,
    read_ranked,
    read_texts,
)

from rewardplane.wire import ChatMessage

HELLO = [{"role": "user", "content": "Hello?"}]


def write(directory: Path, *rows: Any) -> Path:
    """Writes one line a row; bytes as they are."""
    path = directory / "rows.jsonl"
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def complaint(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(BadData) as caught:
        read(path)
    return str(caught.value)


def ranked(answers: object, **values: object) -> dict[str, object]:
    return {"question": "Q", "answers": answers, **values}


def test_reads_every_format(tmp_path: Path) -> None:
    rows = [{"question": "Q", "answer": "A"}, {"question": HELLO, "answer": "B", "id": 7}]
    assert read_demonstrations(write(tmp_path, *rows)) == [
        Demonstration("Q", "A"),
        Demonstration((ChatMessage("user", "Hello?"),), "B"),
    ]
    assert read_prompts(write(tmp_path, {"question": ""}, {"question": HELLO})) == [
        "",
        (ChatMessage("user", "Hello?"),),
    ]
    assert read_texts(write(tmp_path, {"text": "one"}, b"", {"text": "two\u2028lines"})) == ["one", "two\u2028lines"]


def test_ranks_keep_ties_gaps_and_unknowns(tmp_path: Path) -> None:
    path = write(tmp_path, ranked(["a", "b", "c", "d"], ranks=[4, 0, None, 4]))
    assert read_ranked(path) == [RankedAnswers("Q", ("a", "b", "c", "d"), (4, 0, None, 4))]


def test_the_highest_rating_has_rank_0_and_equal_ratings_tie(tmp_path: Path) -> None:
    path = write(tmp_path, ranked(["a", "b", "c", "d", "e"], ratings=[-1.5, 3, None, 3.0, 0]))
    assert read_ranked(path)[0].ranks == (2, 0, None, 0, 1)


def test_chosen_and_rejected_are_a_ranking_of_two(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "Good day."}
    other = {"role": "assistant", "content": "Go away."}
    path = write(
        tmp_path,
        {"question": "Q", "chosen": "a", "rejected": "b"},
        {"chosen": [*HELLO, answer], "rejected": [*HELLO, other]},
    )
    assert read_ranked(path) == [
        RankedAnswers("Q", ("a", "b"), (0, 1)),
        RankedAnswers((ChatMessage("user", "Hello?"),), ("Good day.", "Go away."), (0, 1)),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (ranked(["a", "b", "c"], ranks=[0, 1]), "has 2 ranks for 3 answers"),
        (ranked(["a", "b"], ratings=[0.5]), "has 1 ratings for 2 answers"),
        (ranked(["a"], ranks=[0]), "has 1 answers; a ranking needs 2 or more"),
        (ranked(["a", ""], ranks=[0, 1]), "answers[1] is empty"),
        (ranked(["a", None], ranks=[0, 1]), "answers[1] is null; text is wanted"),
        (ranked("ab", ranks=[0, 1]), 'answers is "ab"; a list is wanted'),
        (ranked(["a", "b"], ranks=[0, 1.5]), "ranks[1] is 1.5; a whole number or null is wanted"),
        (ranked(["a", "b"], ranks=[True, False]), "ranks[0] is true"),
        (ranked(["a", "b"], ratings=[1, float("nan")]), "ratings[1] is NaN; a finite number or null is wanted"),
        (ranked(["a", "b"], ratings=[1, "2"]), 'ratings[1] is "2"'),
        (ranked(["a", "b"]), "has none of ranks, ratings and chosen"),
        (ranked(["a", "b"], ranks=[0, 1], ratings=[1, 0]), "has ranks and ratings of"),
        ({"answers": ["a", "b"], "ranks": [0, 1]}, "has no question; its keys are answers, ranks"),
        ({"question": "Q", "chosen": "a"}, "has no rejected"),
        ({"question": "Q", "chosen": "a", "rejected": ""}, "rejected is empty"),
        ({"chosen": "a", "rejected": "b"}, "has no question"),
        ({"chosen": HELLO, "rejected": HELLO}, "has no question, and chosen and rejected have one message each"),
        ({"chosen": [*HELLO, *HELLO], "rejected": HELLO}, "do not share all messages but the last"),
        ({"question": [], "chosen": "a", "rejected": "b"}, "question is a list of 0"),
        ({"question": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "question[0] is an object of 1"),
        ({"question": "\ud800", "chosen": "a", "rejected": "b"}, "question is no valid Unicode at character 0"),
        ([1, 2], "is a list of 2; a JSON object is wanted"),
        (b'{"question": ', "is no JSON"),
        (b'{"question": "\xff"}', "is no UTF-8 at byte 14"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, row: object, told: str) -> None:
    path = write(tmp_path, ranked(["a", "b"], ranks=[0, 1]), row)
    message = complaint(read_ranked, path)
    assert message.startswith(f"{path}:2: ")
    assert told in message


def test_an_empty_answer_is_no_demonstration(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "Q", "answer": ""})
    assert complaint(read_demonstrations, path) == f"{path}:1: answer is empty"


def test_the_whole_file_is_checked_and_the_first_problems_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, *[{"text": ""}] * 12, {"text": "fine"})
    message = complaint(read_texts, path).splitlines()
    assert message[0] == f"{path}:1: text is empty"
    assert message[-1] == "... and 2 more bad lines"
    assert len(message) == 11


def test_missing_and_empty_files_are_named(tmp_path: Path) -> None:
    assert complaint(read_texts, tmp_path / "no.jsonl") == f"{tmp_path / 'no.jsonl'} does not exist"
    assert complaint(read_texts, write(tmp_path, b"", b"  ")).endswith("rows.jsonl holds no rows")
    assert "cannot be read" in complaint(read_texts, tmp_path)
