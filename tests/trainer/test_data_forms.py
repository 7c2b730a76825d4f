"""The forms in which people keep rankings: TRL's, HH's, Open Assistant's, Label Studio's, Argilla's."""

import json
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.data import BadData, RankedAnswers, read_ranked

from rewardplane.wire import ChatMessage

ASKED = {"role": "user", "content": "Hello?"}
HELLO = (ChatMessage("user", "Hello?"),)
GOOD = {"role": "assistant", "content": "Good day."}
RUDE = {"role": "assistant", "content": "Go away."}


def read(directory: Path, *rows: Any) -> list[RankedAnswers]:
    path = directory / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_ranked(path)


def complaint(directory: Path, row: Any) -> str:
    with pytest.raises(BadData) as caught:
        read(directory, row)
    return str(caught.value)


def test_prompt_history_and_context_make_the_question(tmp_path: Path) -> None:
    answers = {"answers": ["a", "b"], "ranks": [0, 1]}
    before = [{"role": "prompter", "text": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    found = read(
        tmp_path,
        {"prompt": "Q", **answers},
        {"prompt": "Q", "context": "Facts.", **answers},
        {"prompt": "Q", "context": "", "history": [], **answers},
        {"prompt": "Q", "history": before, **answers},
        {"question": [ASKED], "history": before, **answers},
    )
    hi = (ChatMessage("user", "Hi"), ChatMessage("assistant", "Yes?"))
    asked = ["Q", "Facts.\n\nQ", "Q", (*hi, ChatMessage("user", "Q")), hi + HELLO]
    assert [row.question for row in found] == asked
    assert "question and prompt; one is wanted" in complaint(tmp_path, {"question": "Q", "prompt": "Q", **answers})


def test_rows_keep_source_split_and_place(tmp_path: Path) -> None:
    pair = {"question": "Q", "chosen": "a", "rejected": "b"}
    found = read(tmp_path, {**pair, "source": "helpdesk", "split": "test"}, {**pair, "source": None, "split": 3})
    assert [(row.source, row.split) for row in found] == [("helpdesk", "test"), ("", "")]
    assert [row.place for row in found] == [f"{tmp_path}/rows.jsonl:1", f"{tmp_path}/rows.jsonl:2"]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [RUDE]},
        {"chosen": [ASKED, GOOD], "rejected": [ASKED, RUDE]},
        # UltraFeedback: the prompt as text, beside conversations that repeat it.
        {"prompt": "Hello?", "chosen": [ASKED, GOOD], "rejected": [ASKED, RUDE]},
        {"prompt": [ASKED], "chosen": [ASKED, GOOD], "rejected": [ASKED, RUDE]},
    ],
)
def test_trl_conversations_are_a_ranking_of_two(tmp_path: Path, row: object) -> None:
    assert read(tmp_path, row) == [RankedAnswers(HELLO, ("Good day.", "Go away."), (0, 1))]


def test_hh_dialogues_share_everything_up_to_the_last_assistant_turn(tmp_path: Path) -> None:
    shared = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Who are you?\n\nAssistant:"
    # Equal beginnings of the answers belong to the answers.
    found = read(tmp_path, {"chosen": f"{shared} I am a robot.", "rejected": f"{shared} I am rude. "})
    assert found == [RankedAnswers(shared, (" I am a robot.", " I am rude. "), (0, 1))]


def test_hh_dialogues_that_part_early_keep_their_turns_in_the_answers(tmp_path: Path) -> None:
    start = "\n\nHuman: Hi\n\nAssistant:"
    longer = " Yes?\n\nHuman: Go on\n\nAssistant: Well."
    found = read(tmp_path, {"chosen": f"{start}{longer}", "rejected": f"{start} No."})
    assert found == [RankedAnswers(start, (longer, " No."), (0, 1))]


def test_a_dialogue_that_both_have_whole_ranks_equal_texts(tmp_path: Path) -> None:
    text = "\n\nHuman: Hi\n\nAssistant: Yes?"
    assert read(tmp_path, {"chosen": text, "rejected": text})[0].answers == (" Yes?", " Yes?")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"chosen": "\n\nHuman: A\n\nAssistant: a", "rejected": "\n\nHuman: B\n\nAssistant: b"}, "share no text up to"),
        ({"chosen": "\n\nHuman: A\n\nAssistant:", "rejected": "\n\nHuman: A\n\nAssistant: b"}, "chosen is empty"),
        ({"chosen": [ASKED, GOOD], "rejected": "Go away."}, "two texts or two lists of messages are wanted"),
        ({"chosen": [], "rejected": []}, "do not share all messages but the last"),
        ({"prompt": "Bye.", "chosen": [ASKED, GOOD], "rejected": [ASKED, RUDE]}, "conversations that do not end with"),
        ({"prompt": "Q", "chosen": None, "rejected": None}, "chosen is null and rejected null"),
    ],
)
def test_pairs_that_are_none_are_refused(tmp_path: Path, row: object, told: str) -> None:
    message = complaint(tmp_path, row)
    assert message.startswith(f"{tmp_path}/rows.jsonl:1: ")
    assert told in message


def reply(text: str, rank: int | None, *replies: Any, role: str = "assistant", **more: Any) -> dict[str, Any]:
    return {"message_id": text, "role": role, "text": text, "rank": rank, "replies": list(replies), **more}


def test_every_set_of_assistant_replies_in_a_tree_is_a_ranking(tmp_path: Path) -> None:
    again = reply("And now?", 0, reply("C", None), reply("D", 0), role="prompter")
    alone = reply("Why?", 1, reply("only one", None), role="prompter")
    gone = reply("deleted", 2, reply("x", 0, reply("y", 0), reply("z", 1), role="prompter"), deleted=True)
    prompt = reply("Hi", None, reply("A", 1, again, alone), reply("B", 0), gone, role="prompter", deleted=False)
    found = read(tmp_path, {"message_tree_id": "1", "tree_state": "ready_for_export", "prompt": prompt})
    hi = ChatMessage("user", "Hi")
    assert found == [
        RankedAnswers((hi,), ("A", "B"), (1, 0)),
        RankedAnswers((hi, ChatMessage("assistant", "A"), ChatMessage("user", "And now?")), ("C", "D"), (None, 0)),
    ]
    assert {row.place for row in found} == {f"{tmp_path}/rows.jsonl:1"}


def test_trees_without_a_ranking_and_broken_trees_are_told_apart(tmp_path: Path) -> None:
    lonely = {"message_tree_id": "1", "prompt": reply("Hi", None, reply("A", 0), role="prompter")}
    assert complaint(tmp_path, lonely) == f"{tmp_path}/rows.jsonl holds 1 rows and no ranking of two or more answers"
    broken = {"message_tree_id": "1", "prompt": reply("Hi", None, reply("A", 0), reply("B", True), role="prompter")}
    assert complaint(tmp_path, broken).endswith(
        "rows.jsonl:1: a reply's rank is true; a whole number or null is wanted"
    )
    assert "a reply is" in complaint(tmp_path, {"message_tree_id": "1", "prompt": reply("Hi", None, "A", role="user")})


def ranker(value: Any, **more: Any) -> dict[str, Any]:
    result = {"id": "r", "type": "ranker", "from_name": "rank", "to_name": "items", "value": {"ranker": value}}
    return {"id": 1, "was_cancelled": False, "result": [result], **more}


ITEMS = [
    {"id": "one", "title": "LLM 1", "body": "A"},
    {"id": "two", "title": "LLM 2", "html": "<b>B</b>"},
    {"id": 3, "title": "C"},
]


def task(*annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": 1, "project": 2, "data": {"prompt": "Q", **data}, "annotations": list(annotations)}


def test_every_annotation_of_a_ranker_task_is_a_ranking(tmp_path: Path) -> None:
    annotations = (
        ranker({"rank": [3, "one", "two"]}),
        ranker(["two", "one", 3]),  # older versions of Label Studio
        ranker({"_": ["one"], "good": ["two", 3]}),
        ranker({"rank": ["one", "two", 3]}, was_cancelled=True),
        {"id": 5, "result": []},
        ranker({"_": ["one", "two", 3]}),
    )
    found = read(tmp_path, task(*annotations, items=ITEMS))
    assert {row.question for row in found} == {"Q"}
    assert {row.answers for row in found} == {("A", "<b>B</b>", "C")}
    assert [row.ranks for row in found] == [(1, 2, 0), (1, 0, 2), (None, 0, 1)]


def pairwise(selected: object, to_name: str = "answer1,answer2") -> dict[str, Any]:
    value = {"selected": selected}
    return {"result": [{"type": "pairwise", "from_name": "pw", "to_name": to_name, "value": value}]}


def test_a_pairwise_choice_is_a_ranking_of_left_and_right(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    texts = {"answer1": "A", "answer2": "B"}
    mine = {"good": "C", "bad": "D"}
    path.write_text(
        json.dumps([
            task(pairwise("left"), pairwise("right"), **texts),
            task(pairwise("right", "bad, good"), **mine),
            task(pairwise("left", "txt-1,txt-2"), text1="E", text2="F"),
        ], indent=2)
    )  # fmt: skip
    found = read_ranked(path)
    assert [(row.answers, row.ranks) for row in found] == [
        (("A", "B"), (0, 1)), (("A", "B"), (1, 0)), (("D", "C"), (1, 0)), (("E", "F"), (0, 1))
    ]  # fmt: skip
    assert [row.place.removeprefix(str(path)) for row in found] == [": item 1", ": item 1", ": item 2", ": item 3"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (task(ranker({"rank": ["one", "four"]}), items=ITEMS), "no order of the ids in data.items"),
        (task(ranker({"rank": ["one", "one"]}), items=ITEMS), "no order of the ids in data.items"),
        (task(ranker({"good": ["one"], "bad": ["two"]}), items=ITEMS), "has the buckets good, bad"),
        (task(ranker({"rank": ["one"]})), 'data has 0 lists of {"id", "body"}'),
        (task(ranker({"rank": ["one"]}), items=[{"id": "one"}, {"id": "two", "body": "B"}]), "has no body"),
        (task(pairwise("both"), answer1="A", answer2="B"), "left or right is wanted"),
        (task(pairwise("left", "x,y"), a="A", b="B"), "data has neither x,y nor answer1 and answer2"),
        (task("?", items=ITEMS), 'an annotation is "?"'),
    ],
)
def test_tasks_that_say_no_order_are_refused(tmp_path: Path, row: object, told: str) -> None:
    message = complaint(tmp_path, row)
    assert message.startswith(f"{tmp_path}/rows.jsonl:1: ")
    assert told in message


def record(*responses: Any, **fields: str) -> dict[str, Any]:
    return {"id": "1", "fields": fields, "responses": {"ranking": list(responses)}}


def ranked(status: str | None = None, **ranks: int) -> dict[str, Any]:
    value = [{"value": name, "rank": rank} for name, rank in ranks.items()]
    return {"value": value, "user_id": f"user {ranks}", **({"status": status} if status else {})}


def test_every_submitted_response_of_an_argilla_record_is_a_ranking(tmp_path: Path) -> None:
    fields = {"response_1": "a", "response_2": "b", "response_3": "c"}
    responses = [
        ranked(response_1=2, response_2=1, response_3=2),
        ranked("submitted", response_3=1, response_1=4),
        ranked("draft", response_1=1, response_2=2),
        ranked("discarded", response_1=2, response_2=1),
    ]
    found = read(
        tmp_path, record(*responses, input="Q", **fields), record(responses[0], prompt="Q", note="n", **fields)
    )
    assert [(row.question, row.answers, row.ranks) for row in found] == [
        ("Q", ("a", "b", "c"), (1, 0, 1)),
        ("Q", ("a", "b", "c"), (1, None, 0)),
        ("Q", ("a", "b", "c"), (1, 0, 1)),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (record(ranked(a=1, z=2), prompt="Q", a="A", b="B"), "the ranking names z, which is no field"),
        (record(ranked(a=1, b=2), one="Q", two="Q", a="A", b="B"), "has no question"),
        (record({"value": ["a", "b"], "user_id": "u"}, prompt="Q", a="A", b="B"), "names fields without their ranks"),
        (record(ranked(a=1, b="x"), prompt="Q", a="A", b="B"), 'a rank is "x"'),  # type: ignore[arg-type]
        (record(ranked(a=1, b=2), prompt="Q", a="A", b=""), "fields.b is empty"),
        ({"fields": {"prompt": "Q"}, "responses": [3]}, "a response is 3"),
    ],
)
def test_an_argilla_record_that_is_none_is_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    assert told in complaint(tmp_path, row)


def test_places_of_a_label_studio_ranker_hold_ties(tmp_path: Path) -> None:
    places = {"_": [3], "place-2": ["one"], "place-1": [], "place-10": ["two"]}
    (found,) = read(tmp_path, task(ranker(places), items=ITEMS))
    assert found.ranks == (0, 1, None)
    (found,) = read(tmp_path, task(ranker({"place-1": ["two", "one"], "place-2": [3]}), items=ITEMS))
    assert found.ranks == (0, 0, 1)
    twice = [{"id": "one", "body": "A"}, {"id": "one", "body": "B"}]
    assert "has one id twice" in complaint(tmp_path, task(ranker({"rank": ["one"]}), items=twice))
