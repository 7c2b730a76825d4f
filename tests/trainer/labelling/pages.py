"""A ranking server as a process that can be killed, and Chromium to look at its page."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rewardplane.trainer.labelling.access import grant, links
from rewardplane.trainer.labelling.items import Item, read_items, write_items
from rewardplane.trainer.labelling.ranking import Ranking
from rewardplane.trainer.labelling.store import STORE, LabelStore

PATIENCE_S = 60.0
PROGRAM = "import sys; from rewardplane.trainer.labelling.command import main; sys.exit(main(sys.argv[1:]))"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


class LabelProcess:
    """`rewardplane label` on a port that stays the same when it is started again."""

    def __init__(self, directory: Path, items: Sequence[Item], rankers: Sequence[str], per_item: int | None) -> None:
        self.directory = directory
        write_items(directory, items)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.access = grant(directory, rankers)
        self._per_item = per_item
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def link(self, ranker: str = "") -> str:
        """A ranker's, or the owner's."""
        return links(self.access, self.url)[ranker]

    def start(self) -> None:
        command = [sys.executable, "-c", PROGRAM, str(self.directory), "--port", str(self.port)]
        command += [] if self._per_item is None else ["--per-item", str(self._per_item)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._is_up)

    def kill(self) -> None:
        """As a lost machine would: no handler runs."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def rankings(self) -> list[Ranking]:
        with LabelStore(self.directory / STORE, read_items(self.directory)) as store:
            return store.rankings()

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None
        try:
            return bool(urllib.request.urlopen(f"{self.url}/healthz", timeout=1).status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def label_process(
    directory: Path, items: Sequence[Item], rankers: Sequence[str], per_item: int | None = None
) -> Iterator[LabelProcess]:
    directory.mkdir(exist_ok=True)
    process = LabelProcess(directory, items, rankers, per_item)
    process.start()
    try:
        yield process
    finally:
        process.kill()


def request(
    server: LabelProcess, method: str, path: str, body: Any = None, *, token: str | None = None
) -> tuple[int, Any]:
    """Status and what the JSON says; text where it is none."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"{server.url}{path}", content, headers, method=method)
    try:
        answer = urllib.request.urlopen(asked, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text) if is_json else text


@contextmanager
def chromium(width: int = 1366, height: int = 768) -> Iterator[Any]:
    """A browser with nothing kept from another one; skips where there is none."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            resize(found, width, height)
            yield found
        finally:
            found.quit()


def resize(browser: Any, width: int, height: int, *, phone: bool = False) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def color_scheme(browser: Any, name: str) -> None:
    """ "light" or "dark"; without transitions, in which colours are between the two."""
    features = [
        {"name": "prefers-color-scheme", "value": name},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def wait_until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
