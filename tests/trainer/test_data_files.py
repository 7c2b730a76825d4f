"""The same rows from JSON, gzip, Parquet and directories that `datasets` wrote; each names its bad rows."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.data import BadData, RankedAnswers, read_prompts, read_ranked

SAVED = Path(__file__).parents[1] / "golden" / "saved_dataset"
"""Written by datasets 5.2.0, `Dataset.from_list(ROWS).save_to_disk(...)`."""

ROWS = [
    {"question": "Q1", "answers": ["a", "b", "c"], "ranks": [0, None, 2], "source": "x"},
    {"question": "Q2", "answers": ["d", "e"], "ranks": [1, 0], "source": None},
]
RANKED = [RankedAnswers("Q1", ("a", "b", "c"), (0, None, 2), source="x"), RankedAnswers("Q2", ("d", "e"), (1, 0))]


def complaint(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(BadData) as caught:
        read(path)
    return str(caught.value)


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_gzipped_lines_and_lists_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(lines(ROWS)))
    (tmp_path / "rows.json").write_text(f"\n {json.dumps(ROWS, indent=1)}\n")
    (tmp_path / "rows.json.gz").write_bytes(gzip.compress(json.dumps(ROWS).encode()))
    for name in ("rows.jsonl.gz", "rows.json", "rows.json.gz"):
        assert read_ranked(tmp_path / name) == RANKED


def test_broken_files_are_named(tmp_path: Path) -> None:
    cut, text, listed, deep = (tmp_path / name for name in ("cut.gz", "text.gz", "list.json", "deep.jsonl"))
    cut.write_bytes(gzip.compress(lines(ROWS))[:-9])
    assert complaint(read_ranked, cut).startswith(f"{cut} is no gzip file: ")
    text.write_bytes(lines(ROWS))
    assert complaint(read_ranked, text).startswith(f"{text} is no gzip file: ")
    listed.write_bytes(b'[{"question": "Q"},\n{"question" "Q"}]')
    assert complaint(read_prompts, listed) == f"{listed}: is no JSON: Expecting ':' delimiter at line 2, column 13"
    listed.write_bytes(b'[{"question": "Q"}, 3, {"question": 4}]')
    assert complaint(read_prompts, listed).splitlines() == [
        f"{listed}: item 2: is 3; a JSON object is wanted",
        f"{listed}: item 3: question is 4; a text or a list of messages is wanted",
    ]
    deep.write_bytes(lines([{"question": "Q"}]) + b'{"question": ' + b"[" * 200_000)
    assert complaint(read_prompts, deep) == f"{deep}:2: is nested too deeply"


def test_a_directory_of_datasets_is_read_without_datasets() -> None:
    pytest.importorskip("pyarrow")
    found = read_ranked(SAVED)
    assert found == RANKED
    assert [row.place for row in found] == [f"{SAVED}: row 1", f"{SAVED}: row 2"]
    assert "datasets" not in sys.modules


def test_of_a_dict_of_datasets_one_split_is_to_be_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')  # as datasets 5.2.0 writes it
    shutil.copytree(SAVED, tmp_path / "test")
    told = complaint(read_ranked, tmp_path)
    assert told == f"{tmp_path} holds the splits train, test: name one of them, as {tmp_path / 'train'}"
    assert read_ranked(tmp_path / "test") == RANKED


def test_broken_directories_are_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    shutil.copytree(SAVED, tmp_path / "copy")
    part = tmp_path / "copy" / "data-00000-of-00001.arrow"
    part.write_bytes(part.read_bytes()[:600])
    assert complaint(read_ranked, tmp_path / "copy").startswith(f"{part} is no Arrow stream: ")
    part.unlink()
    assert complaint(read_ranked, tmp_path / "copy").startswith(f"{part} is no Arrow stream: ")
    (tmp_path / "copy" / "state.json").write_text("[]")
    assert "is not what `datasets` writes" in complaint(read_ranked, tmp_path / "copy")


def test_parquet_is_read_and_a_bad_row_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    write_parquet(path, ROWS)
    assert read_ranked(path) == RANKED
    write_parquet(path, [*ROWS, {"question": "Q3", "answers": ["f"], "ranks": [0]}])
    assert complaint(read_ranked, path) == f"{path}: row 3: has 1 answers; a ranking needs 2 or more"


def test_what_a_parquet_row_does_not_have_is_null_and_absent(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    asked, good, rude = ({"role": role, "content": text} for role, text in (("user", "Q"), ("a", "g"), ("a", "r")))
    rows = [
        {"question": "Q", "answers": ["a", "b"], "ranks": [0, 1]},
        {"question": "Q", "answers": ["a", "b"], "ratings": [0.5, None]},
        {"chosen": [asked, good], "rejected": [asked, rude]},
    ]
    write_parquet(tmp_path / "rows.parquet", rows)
    assert [row.ranks for row in read_ranked(tmp_path / "rows.parquet")] == [(0, 1), (0, None), (0, 1)]


def test_what_is_no_parquet_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    assert complaint(read_ranked, path) == f"{path} does not exist"
    path.write_bytes(lines(ROWS))
    assert complaint(read_ranked, path).startswith(f"{path} is no Parquet file: ")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = pyarrow.table({key: [row.get(key) for row in rows] for key in keys})
    parquet.write_table(table, path, row_group_size=1)


@pytest.fixture
def no_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.usefixtures("no_pyarrow")
def test_without_pyarrow_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").touch()
    for path in (tmp_path / "rows.parquet", SAVED):
        told = complaint(read_ranked, path)
        assert told == f"{path} needs pyarrow, which is not installed: pip install 'rewardplane[data]'"
