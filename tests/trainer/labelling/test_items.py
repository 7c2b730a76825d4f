"""items.jsonl: what is to be ranked."""

import json
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.data import BadData
from rewardplane.trainer.labelling.items import Item, read_items, write_items

from rewardplane.wire import ChatMessage

GOOD = {"id": "q1", "question": "How was it?", "answers": ["Good.", "Bad."]}


def write(directory: Path, *rows: Any) -> Path:
    (directory / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


def test_items_are_read_as_they_were_written(tmp_path: Path) -> None:
    asked = (ChatMessage("system", "Be brief."), ChatMessage("user", "How was it?"))
    items = [Item("q1", "How was it?", ("Good.", "Bad."), {"model": "m", "temperatures": [0.7, 1.0]}),
             Item("q2", asked, ("Gut.", "Schön.", "Schlecht."))]  # fmt: skip
    write_items(tmp_path, items)
    assert read_items(tmp_path) == items


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"answers": ["Good."]}, "item q1: has 1 answers; 2 to 9 can be ranked at once"),
        ({"answers": [str(n) for n in range(10)]}, "item q1: has 10 answers"),
        ({"answers": ["Good.", "Good."]}, "item q1: has one answer twice"),
        ({"answers": ["Good.", ""]}, "item q1: answers[1] is empty"),
        ({"question": 3}, "item q1: question is 3"),
        ({"source": "m"}, 'item q1: source is "m"; an object is wanted'),
        ({"id": ""}, "id is empty"),
    ],
)
def test_a_bad_item_is_named_by_file_line_and_id(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(BadData) as caught:
        read_items(write(tmp_path, {**GOOD, "id": "q0"}, {**GOOD, **change}))
    assert str(caught.value).startswith(f"{tmp_path}/items.jsonl:2: {complaint}")


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="item q1 came before"):
        read_items(write(tmp_path, GOOD, {**GOOD, "question": "And then?"}))


def test_the_digest_is_of_question_and_answers() -> None:
    item = Item("q1", "How was it?", ("Good.", "Bad."))
    assert item.digest() == Item("q2", "How was it?", ("Good.", "Bad."), {"model": "m"}).digest()
    assert item.digest() != Item("q1", "How was it?", ("Bad.", "Good.")).digest()
    assert item.digest() != Item("q1", (ChatMessage("user", "How was it?"),), ("Good.", "Bad.")).digest()
