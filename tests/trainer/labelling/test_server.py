"""What the server gives to whom."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import LabelProcess, label_process, request
from rewardplane.trainer.data import BadData
from rewardplane.trainer.labelling.access import grant, links, read_access
from rewardplane.trainer.labelling.items import Item

from rewardplane.wire import ChatMessage

ANSWERS = ("zero", "one", "two")
ASKED = (ChatMessage("user", "Question?"),)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelProcess]:
    items = [Item(f"secret-id-{n}", ASKED, ANSWERS, {"policy": "secret-policy"}) for n in range(8)]
    with label_process(tmp_path_factory.mktemp("items"), items, ["ann", "bo", "cy"], per_item=2) as process:
        yield process


def asked(server: LabelProcess, ranker: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    return request(server, method, path, body, token=server.access.rankers[ranker])


def begun(server: LabelProcess, ranker: str) -> Any:
    status, content = asked(server, ranker, "GET", "/api/item")
    assert status == 200
    return content["assignment"]


def ranking(assignment: Any, **change: Any) -> dict[str, Any]:
    ranks = [ANSWERS.index(answer) for answer in assignment["answers"]]
    kept = {"assignment": assignment["id"], "ranks": ranks, "flags": [[], [], []], "seconds": 3.5}
    return {**kept, "cannot_judge": False, **change}


def test_a_ranker_sees_question_and_answers_and_nothing_of_their_origin(server: LabelProcess) -> None:
    status, content = asked(server, "ann", "GET", "/api/item")
    assert status == 200
    assert content["assignment"]["question"] == [{"role": "user", "content": "Question?"}]
    assert sorted(content["assignment"]["answers"]) == sorted(ANSWERS)
    assert "secret" not in json.dumps(content)


def test_a_ranking_and_the_draft_before_it_are_kept(server: LabelProcess) -> None:
    assignment = begun(server, "ann")
    draft = {"assignment": assignment["id"], "draft": {"places": [[1]]}}
    assert asked(server, "ann", "PUT", "/api/draft", draft)[0] == 204
    assert begun(server, "ann")["draft"] == {"places": [[1]]}
    before = len(server.rankings())
    status, after = asked(server, "ann", "POST", "/api/ranking", ranking(assignment))
    assert (status, after["assignment"]["id"] != assignment["id"]) == (200, True)
    found = server.rankings()
    assert len(found) == before + 1
    assert (found[-1].ranks, found[-1].seconds) == ((0, 1, 2), 3.5)
    status, again = asked(server, "ann", "POST", "/api/undo")
    assert (status, again["assignment"]["id"]) == (200, assignment["id"])
    assert again["assignment"]["draft"] == {"places": [[1]]}


def test_nobody_can_rank_in_anothers_name(server: LabelProcess) -> None:
    assignment = begun(server, "ann")
    for method, path, body in (
        ("POST", "/api/ranking", ranking(assignment)),
        ("PUT", "/api/draft", {"assignment": assignment["id"], "draft": {}}),
    ):
        status, content = asked(server, "bo", method, path, body)
        assert (status, "not open" in content["error"]) == (409, True)


@pytest.mark.parametrize("path", ["/api/item", "/api/overview"])
@pytest.mark.parametrize("token", [None, "", "wrong", "wröng"])
def test_without_a_token_there_is_nothing(server: LabelProcess, path: str, token: str | None) -> None:
    assert request(server, "GET", path, token=token)[0] == 401


def test_the_overview_is_the_owners_and_the_items_are_not(server: LabelProcess) -> None:
    assert asked(server, "ann", "GET", "/api/overview")[0] == 401
    status, found = request(server, "GET", "/api/overview", token=server.access.owner)
    assert (status, found["items"], found["wanted"]) == (200, 8, 16)
    assert request(server, "GET", "/api/item", token=server.access.owner)[0] == 401


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ranks": [0, 1]}, "has 2 ranks for 3 answers"),
        ({"ranks": [0, 1, "2"]}, "ranks.2"),
        ({"ranks": [0, 1, -1]}, "ranks.2"),
        ({"ranks": [None, None, None]}, "ranks fewer than two answers"),
        ({"flags": [["rude"], [], []]}, "has the flag rude"),
        ({"seconds": -1}, "seconds"),
        ({"extra": 1}, "extra"),
    ],
)
def test_what_is_no_ranking_is_refused(server: LabelProcess, change: dict[str, Any], complaint: str) -> None:
    assignment = begun(server, "cy")
    status, content = asked(server, "cy", "POST", "/api/ranking", ranking(assignment, **change))
    assert status == 422
    assert complaint in content["error"]
    assert begun(server, "cy")["id"] == assignment["id"]


def test_a_body_that_is_too_long_or_no_json_is_refused(server: LabelProcess) -> None:
    assert asked(server, "bo", "PUT", "/api/draft", b"x" * 100_000)[0] == 413
    assert asked(server, "bo", "PUT", "/api/draft", b"{")[0] == 422


def test_nothing_to_undo_is_said(server: LabelProcess) -> None:
    assert asked(server, "bo", "POST", "/api/undo") == (409, {"error": "nothing is left to undo"})


def test_every_answer_forbids_foreign_and_inline_scripts(server: LabelProcess) -> None:
    import urllib.request

    for path in ("/", "/owner", "/page/ranking.js", "/page/vendor/sortable.js", "/healthz"):
        with urllib.request.urlopen(server.url + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
            assert "unsafe" not in policy
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = request(server, "GET", "/")[1]
    assert "<style" not in page
    assert "<script>" not in page
    assert "://" not in page


@pytest.mark.parametrize("path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page/vendor", "/access.json"])
def test_only_the_pages_own_files_are_served(server: LabelProcess, path: str) -> None:
    assert request(server, "GET", path)[0] == 404


def test_links_made_and_revoked_while_it_runs_are_heeded(server: LabelProcess) -> None:
    token = grant(server.directory, ["di"]).rankers["di"]
    assert request(server, "GET", "/api/item", token=token)[0] == 200
    grant(server.directory, revoked=["di"])
    assert request(server, "GET", "/api/item", token=token)[0] == 401


def test_a_server_that_is_told_to_end_ends_well(tmp_path: Path) -> None:
    with label_process(tmp_path / "items", [Item("q", "Q?", ANSWERS)], ["ann"]) as process:
        assert process.stop() == 0


def test_a_rounds_settings_say_how_many_people_rank_each_item(tmp_path: Path) -> None:
    (tmp_path / "round.json").write_text('{"settings": {"label": {"per_item": 3}}}')
    with label_process(tmp_path, [Item("q", "Q?", ANSWERS)], ["ann"]) as process:
        assert request(process, "GET", "/api/overview", token=process.access.owner)[1]["wanted"] == 3


def test_tokens_are_kept_are_hard_to_guess_and_are_the_owners_to_read(tmp_path: Path) -> None:
    first = grant(tmp_path, ["ann"])
    second = grant(tmp_path, ["ann", "bo"])
    assert second.rankers["ann"] == first.rankers["ann"]
    assert second == read_access(tmp_path)
    tokens = [second.owner, *second.rankers.values()]
    assert len(set(tokens)) == 3
    assert min(map(len, tokens)) >= 32  # 24 bytes in base64
    assert stat.S_IMODE((tmp_path / "access.json").stat().st_mode) == 0o600
    assert second.ranker(tokens[1]) == "ann"
    assert second.ranker(second.owner) is None
    assert links(second, "https://rank.example/")["bo"] == f"https://rank.example/#{second.rankers['bo']}"


def test_names_and_revocations_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for name in ("", "  ", "a\nb", "n" * 65):
        with pytest.raises(BadData, match="is no name"):
            grant(tmp_path, [name])
    with pytest.raises(BadData, match="ann has no token here"):
        grant(tmp_path, revoked=["ann"])
    (tmp_path / "access.json").write_text("[]")
    with pytest.raises(BadData, match=r"access.json cannot be read"):
        read_access(tmp_path)
