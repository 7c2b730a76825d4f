"""What somebody does on the ranking page, with a mouse, keys or a finger, and what they see there."""

from __future__ import annotations

import time
from typing import Any, Self

from pages import resize, wait_until


class Page:
    """A browser that shows it."""

    def __init__(self, browser: Any, link: str) -> None:
        self.browser = browser
        browser.get("about:blank")  # another link alone would only be another place on the same page
        browser.get(link)
        self.loaded()

    def loaded(self) -> None:
        wait_until(lambda: self.script("return document.querySelector('main > div:not([hidden])') !== null"))

    def script(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.browser.switch_to.active_element.send_keys(key)

    def click(self, selector: str) -> None:
        self.find(selector).click()

    def find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)

    def card(self, text: str, part: str = "") -> str:
        """The selector of the card with this text."""
        number = self.shown().index(text)
        return f'.answer[data-answer="{number}"] {part}'

    def key(self, text: str) -> str:
        return str(self.shown().index(text) + 1)

    def shown(self) -> list[str]:
        cards = "[...document.querySelectorAll('.answer')].sort((a, b) => a.dataset.answer - b.dataset.answer)"
        return list(self.script(f"return {cards}.map((card) => card.querySelector('.text').textContent)"))

    def places(self) -> list[set[str]]:
        texts = "[...stack.querySelectorAll('.text')].map((text) => text.textContent)"
        found = self.script(f"return [...document.querySelectorAll('#order .stack')].map((stack) => {texts})")
        return [set(stack) for stack in found]

    def pool(self) -> list[str]:
        return list(self.script("return [...document.querySelectorAll('#pool .text')].map((text) => text.textContent)"))

    def text(self, selector: str) -> str:
        return str(self.script("return document.querySelector(arguments[0]).textContent", selector))

    def saved(self) -> None:
        wait_until(lambda: self.text("#saved") == "Saved")

    def question(self) -> str:
        return self.text("#question")

    def done(self, count: int) -> None:
        wait_until(lambda: self.text("#progress-text").startswith(f"{count} done"))

    def drag(self, source: str, target: str, *, below: int | None = None) -> None:
        """Drags by the bar of a card into the middle of the target, or so many pixels below its upper edge."""
        from selenium.webdriver import ActionChains

        chain = ActionChains(self.browser, duration=30)
        chain.click_and_hold(self.find(f"{source} .grip")).move_by_offset(8, 8).perform()
        wait_until(lambda: self.script("return document.body.classList.contains('dragging')"))
        element = self.find(target)
        down = 0 if below is None else below - element.size["height"] // 2
        for step in (3, 0):  # Sortable wants to see it come
            chain.move_to_element_with_offset(element, step, down + step).pause(0.06)
        chain.release().perform()
        wait_until(lambda: not self.script("return document.body.classList.contains('dragging')"))


class Finger:
    """Touches of a phone's screen."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def __enter__(self) -> Self:
        resize(self._page.browser, 390, 844, phone=True)
        self._page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
        return self

    def __exit__(self, *_: object) -> None:
        self._page.browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        resize(self._page.browser, 1366, 768)

    def tap(self, selector: str) -> None:
        self._touch("touchStart", *self._middle(selector))
        self._touch("touchEnd")

    def drag(self, source: str, target: str) -> None:
        x, y = self._middle(f"{source} .grip")
        self._touch("touchStart", x, y)
        time.sleep(0.25)  # a finger that moves at once scrolls
        self._touch("touchMove", x + 6, y + 6)
        wait_until(lambda: self._page.script("return document.body.classList.contains('dragging')"))
        for _ in range(3):  # the places between open on the way, and move what is below
            x, y = self._middle(target, scroll=False)
            self._touch("touchMove", x, y)
            time.sleep(0.06)
        self._touch("touchEnd")
        wait_until(lambda: not self._page.script("return document.body.classList.contains('dragging')"))

    def _middle(self, selector: str, *, scroll: bool = True) -> tuple[float, float]:
        x, y = self._page.script(
            "const found = document.querySelector(arguments[0]);"
            "if (arguments[1]) found.scrollIntoView({block: 'center'});"
            "const box = found.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + Math.min(box.height / 2, 40)]",
            selector,
            scroll,
        )
        return x, y

    def _touch(self, kind: str, *at: float) -> None:
        points = [{"x": at[0], "y": at[1]}] if at else []
        self._page.browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
