"""axe-core finds nothing to mend on any state of the pages, light and dark, laptop and phone."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import LabelProcess, chromium, color_scheme, label_process, resize, wait_until
from rewardplane.trainer.labelling.items import Item, read_items
from rewardplane.trainer.labelling.ranking import Ranking
from rewardplane.trainer.labelling.store import STORE, LabelStore

from rewardplane.wire import ChatMessage

AXE = "axe-core@4.14.1"
"""By its name in the npm registry: MPL-2.0, fetched once into build/, which is not committed."""
CACHE = Path(__file__).parents[3] / "build" / "npm"
TALK = (ChatMessage("system", "Be kind."), ChatMessage("user", "How do I mend it?"))
ANSWERS = ("Glue it.\n\nThen wait.", "No.", "Buy another one. " * 60, "It depends.")


@pytest.fixture(scope="module")
def axe() -> str:
    script = CACHE / AXE / "package" / "axe.min.js"
    if not script.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"needs npm, to fetch {AXE}")
        script.parent.parent.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run([npm, "pack", AXE], cwd=script.parent.parent, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"npm could not fetch {AXE}: {fetched.stderr.strip()[-200:]}")
        with tarfile.open(script.parent.parent / fetched.stdout.split()[-1]) as archive:
            archive.extractall(script.parent.parent, filter="data")
    return script.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelProcess]:
    items = [Item("q0", TALK, ANSWERS), Item("q1", "Why?", ANSWERS[:2])]
    with label_process(tmp_path_factory.mktemp("items"), items, ["ann", "bo"], per_item=2) as process:
        yield process


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def violations(browser: Any, axe: str) -> list[str]:
    """In every look of the page as it is now."""
    browser.execute_script(axe)
    found = []
    for width, height, phone in ((1366, 768, False), (390, 844, True)):
        resize(browser, width, height, phone=phone)
        for scheme in ("light", "dark"):
            color_scheme(browser, scheme)
            result = browser.execute_async_script("axe.run().then(arguments[0])")
            assert len(result["passes"]) > 10
            for violation in result["violations"]:
                targets = [node["html"][:160] for node in violation["nodes"]]
                found.append(f"{scheme} {width}: {violation['id']}: {violation['help']}: {targets}")
    return found


def opened(browser: Any, link: str, shown: str) -> Any:
    browser.get("about:blank")
    browser.get(link)
    wait_until(lambda: browser.find_element("css selector", shown).is_displayed())
    return browser.switch_to.active_element


def press(browser: Any, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(key)


def test_axe_finds_nothing_on_the_ranking_page(browser: Any, server: LabelProcess, axe: str) -> None:
    opened(browser, server.link("ann"), "#item")
    assert violations(browser, axe) == []
    count = len(browser.find_elements("css selector", ".answer"))
    press(browser, "2", "h", "1", "=")
    assert violations(browser, axe) == []
    press(browser, "0", "?")
    assert browser.find_element("css selector", "dialog").is_displayed()
    assert violations(browser, axe) == []
    browser.find_element("css selector", "dialog button").click()
    for number in range(2):
        press(browser, *map(str, range(1, count + 1)), "0", "s")
        wait_until(lambda: browser.find_element("css selector", "#progress").get_attribute("value") == str(number + 1))  # noqa: B023
    assert browser.find_element("css selector", "#nothing").is_displayed()
    assert violations(browser, axe) == []


def test_axe_finds_nothing_on_the_owners_page_nor_beside_an_error(browser: Any, server: LabelProcess, axe: str) -> None:
    with LabelStore(server.directory / STORE, read_items(server.directory)) as store:
        for ranker in ("ann", "bo"):  # so that there is agreement to be shown
            store.add(Ranking("q1", ranker, (0, 1), ((), ()), 3.0, cannot_judge=False))
    opened(browser, server.link(), "#overview")
    assert violations(browser, axe) == []
    opened(browser, f"{server.url}/#wrong", "#trouble")
    assert violations(browser, axe) == []
