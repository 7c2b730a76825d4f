"""The ranking page in a browser: mouse, keys, ties, undo, two people at once, and a server that dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import LabelProcess, chromium, label_process, wait_until
from ranking_page import Finger, Page
from rewardplane.trainer.labelling.items import Item

ANSWERS = ("Answer zero.", "Answer one.", "Answer two.", "Answer three.")
Serve = Callable[..., LabelProcess]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running = []

    def start(count: int = 1, *rankers: str, per_item: int = 1) -> LabelProcess:
        items = [Item(f"q{n}", f"Question {n}?", ANSWERS) for n in range(count)]
        context = label_process(tmp_path / "items", items, rankers or ("ann",), per_item)
        running.append(context)
        return context.__enter__()

    yield start
    for context in running:
        context.__exit__(None, None, None)


def ranks_of(server: LabelProcess, ranker: str = "ann") -> list[tuple[int | None, ...]]:
    return [ranking.ranks for ranking in server.rankings() if ranking.ranker == ranker]


def test_keys_alone_rank_an_item_with_a_tie(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    zero, one, two, three = (page.key(answer) for answer in ANSWERS)
    page.press(two, three, "=", zero, one)
    assert page.places() == [{"Answer two.", "Answer three."}, {"Answer zero."}, {"Answer one."}]
    page.press("s")
    page.done(1)
    assert ranks_of(server) == [(1, 2, 0, 0)]
    assert server.rankings()[0].seconds > 0
    assert "Nothing is left" in page.find("#nothing").text
    assert not browser.get_log("browser")  # also no violation of the content security policy


def test_keys_move_untie_take_out_and_flag(browser: Any, serve: Serve) -> None:
    from selenium.webdriver import Keys

    server = serve()
    page = Page(browser, server.link("ann"))
    zero, one, two, three = (page.key(answer) for answer in ANSWERS)
    page.press(zero, one, two, Keys.SHIFT + Keys.ARROW_UP + Keys.NULL)
    assert page.places() == [{"Answer zero."}, {"Answer two."}, {"Answer one."}]
    page.press("t")
    assert page.places() == [{"Answer zero.", "Answer two."}, {"Answer one."}]
    page.press(Keys.SHIFT + Keys.ARROW_DOWN + Keys.NULL, "h", "n", "n", Keys.ARROW_DOWN, "n", Keys.BACKSPACE)
    assert page.places() == [{"Answer zero."}, {"Answer two."}]
    assert set(page.pool()) == {"Answer one.", "Answer three."}
    page.press("s")  # two are not ranked: nothing is sent, and it is said which
    assert sorted(page.text("#live").removeprefix("Not ranked yet: ").rstrip(".").split(", ")) == sorted([one, three])
    page.press("0", "s")
    page.done(1)
    (ranking,) = server.rankings()
    assert ranking.ranks == (0, 2, 1, 2)
    assert ranking.flags == ((), ("nonsense",), ("harmful",), ())


def test_the_mouse_alone_ranks_an_item_with_a_tie(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    page.drag(page.card("Answer one."), "#order .gap")
    assert page.places() == [{"Answer one."}]
    page.drag(page.card("Answer zero."), '#order [data-gap="0"]')
    assert page.places() == [{"Answer zero."}, {"Answer one."}]
    page.drag(page.card("Answer three."), page.card("Answer one."))
    assert page.places() == [{"Answer zero."}, {"Answer one.", "Answer three."}]
    page.drag(page.card("Answer zero."), '#order [data-gap="2"]')
    assert page.places() == [{"Answer one.", "Answer three."}, {"Answer zero."}]
    page.drag(page.card("Answer one."), "#pool", below=10)
    assert page.places() == [{"Answer three."}, {"Answer zero."}]
    page.click(page.card("Answer two.", ".number"))
    page.click(page.card("Answer two.", '[data-action="up"]'))
    page.click(page.card("Answer one.", '[data-action="place"]'))
    page.click(page.card("Answer one.", '[data-action="tie"]'))
    page.click("#submit")
    page.done(1)
    assert ranks_of(server) == [(2, 2, 1, 0)]
    assert not browser.get_log("browser")


def test_a_finger_ranks_by_taps_and_by_dragging(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    with Finger(page) as finger:
        finger.tap(page.card("Answer two.", ".number"))
        finger.tap(page.card("Answer zero.", ".number"))
        wait_until(lambda: page.places() == [{"Answer two."}, {"Answer zero."}])
        finger.drag(page.card("Answer zero."), page.card("Answer two."))
        assert page.places() == [{"Answer zero.", "Answer two."}]
        finger.tap(page.card("Answer one.", ".number"))
        finger.tap(page.card("Answer three.", '[data-action="flag-nonsense"]'))
        finger.tap("#tie-rest")
        wait_until(lambda: not page.pool())
        finger.tap("#submit")
        page.done(1)
    (ranking,) = server.rankings()
    assert (ranking.ranks, ranking.flags) == ((0, 1, 0, 2), ((), (), (), ("nonsense",)))


def test_undo_goes_back_through_changes_and_then_to_the_question_before(browser: Any, serve: Serve) -> None:
    server = serve(2)
    page = Page(browser, server.link("ann"))
    first = page.question()
    page.press(*"1234")
    order = page.places()
    page.press("s")
    page.done(1)
    assert page.question() != first
    page.press("1", "u")
    assert page.places() == []
    page.press("u")
    page.done(0)
    assert page.question() == first
    assert page.places() == order
    assert server.rankings() == []
    page.click("#submit")
    page.done(1)
    assert len(server.rankings()) == 1


def test_what_cannot_be_judged_is_said_so(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    page.press("1", "x")
    page.done(1)
    (ranking,) = server.rankings()
    assert ranking.cannot_judge
    assert ranking.ranks == (None,) * 4


def test_a_killed_server_and_a_reload_lose_nothing(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    page.press("3", "h", "1")
    page.saved()
    server.kill()
    page.press("2")
    wait_until(lambda: page.find("#trouble").is_displayed())
    order = page.places()
    assert len(order) == 3
    server.start()
    page.saved()
    assert not page.find("#trouble").is_displayed()
    browser.refresh()
    page.loaded()
    wait_until(lambda: page.places() == order)
    assert page.find('.answer[data-answer="2"] [data-action="flag-harmful"]').get_attribute("aria-pressed") == "true"
    page.press("4", "s")
    page.done(1)
    assert server.rankings()[0].ranks.count(0) == 1


def test_what_only_the_browser_knows_of_is_there_when_server_and_page_come_back(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    page.press("3")
    page.saved()
    server.kill()
    page.press("1")
    order = page.places()
    browser.get("about:blank")
    server.start()
    assert Page(browser, server.link("ann")).places() == order


def test_a_ranking_that_is_sent_to_a_dead_server_arrives_when_it_is_back(browser: Any, serve: Serve) -> None:
    server = serve()
    page = Page(browser, server.link("ann"))
    page.press(*"1234")
    page.saved()
    server.kill()
    page.press("s")
    wait_until(lambda: page.find("#trouble").is_displayed())
    server.start()
    page.done(1)
    assert len(server.rankings()) == 1


def test_two_people_rank_at_once_each_in_an_order_of_their_own(browser: Any, serve: Serve) -> None:
    server = serve(3, "ann", "bo", per_item=2)
    with chromium() as other:
        pages = [Page(browser, server.link("ann")), Page(other, server.link("bo"))]
        seen: list[list[tuple[str, ...]]] = [[], []]
        for number in range(3):
            for page, own in zip(pages, seen, strict=True):
                own.append((page.question(), *page.shown()))
                page.press(*(page.key(answer) for answer in ANSWERS))
            for page in pages:
                page.press("s")
                page.done(number + 1)
        for own in seen:
            assert len({question for question, *_ in own}) == 3
        assert seen[0] != seen[1]
    assert ranks_of(server, "ann") == ranks_of(server, "bo") == [(0, 1, 2, 3)] * 3


def test_an_item_that_was_ranked_in_another_window_is_left_alone(browser: Any, serve: Serve) -> None:
    server = serve(2)
    page = Page(browser, server.link("ann"))
    page.press(*"1234")
    page.saved()
    here = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        other = Page(browser, server.link("ann"))
        other.press("s")
        other.done(1)
        browser.switch_to.window(here)
        page.press("s")
        page.done(1)
        wait_until(lambda: page.places() == [])
        assert len(server.rankings()) == 1
    finally:
        for window in set(browser.window_handles) - {here}:
            browser.switch_to.window(window)
            browser.close()
        browser.switch_to.window(here)


def test_a_wrong_link_is_told_so(browser: Any, serve: Serve) -> None:
    server = serve()
    browser.get("about:blank")
    browser.get(f"{server.url}/#wrong")
    wait_until(lambda: browser.find_element("css selector", "#trouble").is_displayed())
    assert "not valid" in browser.find_element("css selector", "#trouble").text
