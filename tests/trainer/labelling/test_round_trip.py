"""Label Studio, Argilla and TRL: what goes out comes back equal, and what is bad is named by its item."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.data import BadData, RankedAnswers, read_ranked
from rewardplane.trainer.labelling.command import main
from rewardplane.trainer.labelling.items import Item, read_items, write_items
from rewardplane.trainer.labelling.ranking import Ranking
from rewardplane.trainer.labelling.round_trip import Form, export, import_rankings, read_export
from rewardplane.trainer.labelling.store import LabelStore

from rewardplane.wire import ChatMessage

TALK = (ChatMessage("system", "Be kind."), ChatMessage("user", "And then?"))
ITEMS = [
    Item("q1", "How was it?", ("Good.", "Bad.", "Fine.", "So so.")),
    Item("q2", TALK, ("Then we left.\n\nIt rained.", "Nothing.", "“Wer weiß?”", "Go away.")),
    Item("q3", "Why?", ("Because.", "Why not?", "No.", "Yes.")),
]
RANKINGS = [
    Ranking("q1", "ann", (0, 3, 1, 2), ((), ("harmful", "nonsense"), (), ()), 31.5, cannot_judge=False),
    Ranking("q1", "bo", (0, 1, 0, 1), ((), (), (), ()), 28.0, cannot_judge=False),
    Ranking("q2", "ann", (1, None, 0, None), ((), (), (), ("harmful",)), 40.0, cannot_judge=False),
    Ranking("q2", "bo", (None,) * 4, ((), (), (), ()), 12.0, cannot_judge=True),
]


def filled(directory: Path, rankings: list[Ranking] = RANKINGS) -> LabelStore:
    directory.mkdir(exist_ok=True)
    write_items(directory, ITEMS)
    store = LabelStore(directory / "labels.sqlite", ITEMS, per_item=2)
    for ranking in rankings:
        store.add(ranking)
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    with filled(tmp_path / "items") as found:
        yield found


@pytest.fixture
def other(tmp_path: Path) -> Iterator[LabelStore]:
    """Of the same items, with nothing said about them."""
    with filled(tmp_path / "other", []) as found:
        yield found


def by_answer(rows: list[RankedAnswers]) -> list[tuple[Any, dict[str, int | None]]]:
    """What they say, in whatever order the answers stand."""
    return [(row.question, dict(zip(row.answers, row.ranks, strict=True))) for row in rows]


JUDGED = [
    (ITEMS[0].question, {"Good.": 0, "Bad.": 3, "Fine.": 1, "So so.": 2}),
    (ITEMS[0].question, {"Good.": 0, "Bad.": 1, "Fine.": 0, "So so.": 1}),
    (ITEMS[1].question, {"Then we left.\n\nIt rained.": 1, "Nothing.": None, "“Wer weiß?”": 0, "Go away.": None}),
]


@pytest.mark.parametrize("form", [Form.RANKINGS, Form.LABEL_STUDIO, Form.ARGILLA])
def test_an_export_is_read_as_the_same_ranked_answers(store: LabelStore, tmp_path: Path, form: Form) -> None:
    out = tmp_path / "out.json"
    export(store, form, out)
    assert by_answer(read_ranked(out)) == JUDGED


def test_trls_pairs_are_the_pairs_of_the_rankings(store: LabelStore, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    export(store, Form.TRL, out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 6 + 4 + 1  # C(4, 2); two ties of two; two of which the rank is known
    assert {frozenset(row) for row in rows} == {frozenset({"prompt", "chosen", "rejected"})}
    assert rows[-1] == {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "And then?"}],
        "chosen": [{"role": "assistant", "content": "“Wer weiß?”"}],
        "rejected": [{"role": "assistant", "content": "Then we left.\n\nIt rained."}],
    }
    assert {row.answers for row in read_ranked(out)[:6]} == {
        ("Good.", "Bad."), ("Good.", "Fine."), ("Good.", "So so."), ("Fine.", "Bad."), ("Fine.", "So so."),
        ("So so.", "Bad."),
    }  # fmt: skip


def test_label_studio_gives_back_all_that_was_said(store: LabelStore, other: LabelStore, tmp_path: Path) -> None:
    out = tmp_path / "tasks.json"
    assert export(store, Form.LABEL_STUDIO, out) == [out, tmp_path / "tasks.xml"]
    import_rankings(out, other)
    assert other.rankings() == RANKINGS


def test_argilla_gives_back_all_but_the_seconds(store: LabelStore, other: LabelStore, tmp_path: Path) -> None:
    out = tmp_path / "records.json"
    export(store, Form.ARGILLA, out)
    import_rankings(out, other, ["ann", "bo"])
    assert other.rankings() == [
        Ranking(own.item, own.ranker, own.ranks, own.flags, 0.0, own.cannot_judge) for own in RANKINGS
    ]


def test_our_own_rows_come_back_but_for_what_could_not_be_judged(
    store: LabelStore, other: LabelStore, tmp_path: Path
) -> None:
    export(store, Form.RANKINGS, tmp_path / "rows.jsonl")
    import_rankings(tmp_path / "rows.jsonl", other)
    assert other.rankings() == RANKINGS[:3]


def test_no_tool_is_told_where_an_answer_comes_from_nor_shown_the_items_own_order(tmp_path: Path) -> None:
    answers = tuple(f"Answer {n}." for n in range(9))
    items = [Item(f"q{n}", "Q?", answers, {"policy": "secret"}) for n in range(20)]
    with LabelStore(tmp_path / "labels.sqlite", items) as store:
        for form in (Form.LABEL_STUDIO, Form.ARGILLA):
            export(store, form, tmp_path / form)
            content = (tmp_path / form).read_text()
            assert "secret" not in content
            rows = json.loads(content)
            if form is Form.ARGILLA:
                first = [row["fields"]["answer_1"] for row in rows]
            else:
                first = [row["data"]["answers"][0]["body"] for row in rows]
            assert len(set(first)) > 4


def test_tasks_that_were_ranked_in_label_studio_are_taken(other: LabelStore, tmp_path: Path) -> None:
    # Its JSON export, as labelstud.io/guide/task_format and /tags/ranker have it.
    task = {
        "id": 7, "created_at": "2026-11-20T10:00:00Z", "project": 1,
        "data": {
            "item": "q1", "prompt": "How was it?", "dialogue": [{"role": "user", "content": "How was it?"}],
            "answers": [{"id": str(n), "body": text} for n, text in enumerate(ITEMS[0].answers, 1)],
        },
        "annotations": [
            {
                "id": 11, "completed_by": {"id": 3, "email": "cy@example.org"}, "was_cancelled": False,
                "lead_time": 33.25, "ground_truth": False, "result": [
                    {"id": "a", "from_name": "rank", "to_name": "answers", "type": "ranker", "origin": "manual",
                     "value": {"ranker": {"_": ["4"], "place-2": ["1"], "place-1": ["3", "2"], "place-3": []}}},
                    {"id": "b", "from_name": "nonsense", "to_name": "answers", "type": "choices", "origin": "manual",
                     "value": {"choices": ["4"]}},
                ],
            },
            {"id": 12, "completed_by": 4, "was_cancelled": True, "lead_time": 5.0, "result": []},
        ],
    }  # fmt: skip
    (tmp_path / "export.json").write_text(json.dumps([task]))
    import_rankings(tmp_path / "export.json", other)
    assert other.rankings() == [
        Ranking("q1", "cy@example.org", (1, 0, 0, None), ((), (), (), ("nonsense",)), 33.25, cannot_judge=False),
        Ranking("q1", "label-studio:4", (None,) * 4, ((), (), (), ()), 5.0, cannot_judge=True),
    ]


def api_record(**change: Any) -> dict[str, Any]:
    """As Argilla's API has them: GET /api/v1/datasets/{id}/records?include=responses."""
    fields = {"prompt": "How was it?"} | {f"answer_{n}": text for n, text in enumerate(ITEMS[0].answers, 1)}
    ranking = [{"value": f"answer_{n}", "rank": rank} for n, rank in ((1, 2), (2, 1), (3, 1), (4, 4))]
    response = {
        "id": "6c3a", "record_id": "1f00", "user_id": "9d2b", "status": "submitted",
        "values": {"ranking": {"value": ranking}, "harmful": {"value": ["answer_4"]}},
    }  # fmt: skip
    draft = {"user_id": "77aa", "status": "draft", "values": {"ranking": {"value": ranking[:1]}}}
    record = {"id": "1f00", "external_id": "q1", "status": "completed", "fields": fields, "metadata": None}
    return {**record, "responses": [response, draft], **change}


def test_records_of_argillas_api_are_taken(other: LabelStore, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(json.dumps(api_record()))
    import_rankings(tmp_path / "records.jsonl", other)
    assert other.rankings() == [
        Ranking("q1", "argilla:9d2b", (1, 0, 0, 2), ((), (), (), ("harmful",)), 0.0, cannot_judge=False)
    ]
    (found,) = read_ranked(tmp_path / "records.jsonl")
    assert (found.question, found.ranks) == ("How was it?", (1, 0, 0, 2))


def test_rankings_whose_ranks_argillas_python_client_left_out_are_refused(other: LabelStore, tmp_path: Path) -> None:
    # Its `to_json` turns [{"value", "rank"}] into names in the order of the options: the order that is shown.
    names = [f"answer_{n}" for n in range(1, 5)]
    record = api_record(responses={"ranking": [{"value": names, "user_id": "9d2b"}]})
    (tmp_path / "records.json").write_text(json.dumps([record]))
    for read in (read_ranked, lambda path: import_rankings(path, other)):
        with pytest.raises(BadData, match="names fields without their ranks"):
            read(tmp_path / "records.json")


def ranked_task(item: str, places: Any, **data: Any) -> dict[str, Any]:
    answers = [{"id": str(n), "body": text} for n, text in enumerate(ITEMS[0].answers, 1)]
    result = {"from_name": "rank", "to_name": "answers", "type": "ranker", "value": {"ranker": places}}
    kept = {"item": item, "prompt": "How was it?", "answers": answers, **data}
    return {"data": kept, "annotations": [{"completed_by": 1, "result": [result]}]}


UNKNOWN = {"values": {"ranking": {"value": [{"value": "x", "rank": 1}]}}}
GOOD = {"place-1": ["1", "2"], "place-2": ["3", "4"]}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (ranked_task("q9", GOOD), "item q9: is none of the 3 items here"),
        (ranked_task("q1", GOOD, prompt="What?"), "item q1: asks"),
        (ranked_task("q1", {"place-1": ["1", "7"]}), 'item q1: the order names "7", which is no answer'),
        (ranked_task("q1", {"place-1": ["1"]}), "item q1: ranks fewer than two answers"),
        (ranked_task("q1", {"good": ["1"], "bad": ["2"]}), "item q1: value.ranker has the buckets good, bad"),
        (ranked_task("q1", GOOD, answers=[{"id": "1", "body": "Else."}]), "item q1: answer 1 is none of the item's"),
        (ranked_task("q1", GOOD, answers=[{"id": "1", "body": "Good."}]), "item q1: has 1 of the item's 4 answers"),
        (api_record(external_id="q3"), "item q3: asks"),
        (
            api_record(responses=[{"values": {"ranking": {"value": [{"value": "x", "rank": 1}]}}}]),
            "item q1: the ranking",
        ),
        (api_record(responses=3), "item q1: responses is 3"),
        ({"item": "q3", "answers": ["No."], "ranks": [0], "ranker": "ann"}, "item q3: has 1 of the item's 4"),
        ({"item": ["q3"], "ranks": [0]}, "item ['q3']: is none"),
    ],
)
def test_a_bad_import_is_named_by_its_item(
    other: LabelStore, tmp_path: Path, row: dict[str, Any], complaint: str
) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (ranked_task("q1", GOOD), row)))
    with pytest.raises(BadData) as caught:
        import_rankings(path, other)
    assert str(caught.value).startswith(f"{path}:2: {complaint}")
    assert other.rankings() == []  # none of a file with a bad one
    assert len(import_rankings(path, other, skip_bad=True).problems) == 1
    assert [ranking.ranks for ranking in other.rankings()] == [(0, 0, 1, 1)]


def test_items_of_different_k_need_a_choice_for_argilla(tmp_path: Path) -> None:
    items = [ITEMS[0], Item("q9", "Q?", ("a", "b"))]
    with LabelStore(tmp_path / "labels.sqlite", items) as store:
        with pytest.raises(BadData, match="items have 2, 4 answers"):
            export(store, Form.ARGILLA, tmp_path / "out.json")
        export(store, Form.ARGILLA, tmp_path / "out.json", 2)
        assert [row["id"] for row in json.loads((tmp_path / "out.json").read_text())] == ["q9"]
        with pytest.raises(BadData, match="exists: nothing is overwritten"):
            export(store, Form.ARGILLA, tmp_path / "out.json", 2)


def test_the_commands_export_and_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path / "items").close()
    filled(tmp_path / "other", []).close()
    out = tmp_path / "tasks.json"
    assert main(["export", str(tmp_path / "items"), str(out), "--to", "label-studio"]) == 0
    assert main(["import", str(tmp_path / "other"), str(out)]) == 0
    assert "4 rankings" in capsys.readouterr().out
    with LabelStore(tmp_path / "other" / "labels.sqlite", read_items(tmp_path / "other")) as store:
        assert store.rankings() == RANKINGS
        assert len(read_export(out, store).rankings) == 4
    out.write_text(json.dumps([ranked_task("q9", GOOD)]))
    assert main(["import", str(tmp_path / "other"), str(out)]) == 1
    assert "item q9" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "other"), str(out), "--skip-bad"]) == 0
    assert "left out" in capsys.readouterr().err


def test_links_are_printed_for_names_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_items(tmp_path, ITEMS)
    assert main(["links", str(tmp_path), "--ranker", "ann", "--ranker", "bo", "--url", "https://rank.example"]) == 0
    first = capsys.readouterr().out
    assert first.count("https://rank.example/") == 3
    assert main(["links", str(tmp_path), "--revoke", "bo", "--url", "https://rank.example"]) == 0
    second = capsys.readouterr().out
    assert next(line for line in first.splitlines() if line.startswith("ann: ")) in second
    assert "bo: " not in second
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "items.jsonl does not exist" in capsys.readouterr().err
