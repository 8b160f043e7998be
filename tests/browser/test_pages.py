"""The pages in a real browser: quiet, self-contained, readable by everybody, not to be fooled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lab.report.html.page import ladder_page, run_page
from lab.report.plain import plain
from tests import pages, sample

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs chromium (apt-get install chromium)")

LOGS = {"dmesg.log": "\n".join(f"line {number}" for number in range(300))}
PAGES: dict[str, Callable[[], str]] = {
    "pass": lambda: run_page(pages.full(), sample.evidence(), LOGS),
    "fail": lambda: run_page(pages.failing(), sample.evidence(), LOGS),
    "dead": lambda: run_page(pages.dead(), None, {"guest-console.log": "Kernel panic"}),
    "several": lambda: run_page(pages.several(3, 2), sample.evidence(), {}),
    "many": lambda: run_page(pages.several(24, 3, 8), sample.evidence(), {}),
    "ladder": lambda: ladder_page(pages.ladder(), "/results"),
    "evil-run": lambda: run_page(
        pages.spoiled(pages.full()), pages.spoiled(sample.evidence()), {"dmesg.log": pages.EVIL}
    ),
    "evil-dead": lambda: run_page(pages.spoiled(pages.dead()), None, {}),
    "evil-ladder": lambda: ladder_page(pages.spoiled(pages.ladder()), "/results"),
}
PHONE, PROJECTOR = (360, 740), (1920, 1080)
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's own Chromium, with a profile of its own; root has no sandbox."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


class Open:
    """Opens pages and remembers what they said and asked for."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self._browser, self._folder = browser, folder

    def __call__(
        self, name: str, size: tuple[int, int] = PROJECTOR, scheme: Scheme = "light"
    ) -> Page:
        file = self._folder / "report.html"
        file.write_text(PAGES[name]())
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )
        page = context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())
        return page


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    yield Open(browser, tmp_path)
    for context in browser.contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_nothing_and_loads_nothing(name: str, open_page: Open) -> None:
    page = open_page(name)
    assert open_page.said == []
    assert [url for url in open_page.asked if not url.startswith("data:")] == [page.url]


@pytest.mark.parametrize("size", [PHONE, PROJECTOR], ids=["phone", "projector"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_screen(
    name: str, size: tuple[int, int], open_page: Open
) -> None:
    page = open_page(name, size)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, PROJECTOR], ids=["phone", "projector"])
@pytest.mark.parametrize("name", ["pass", "fail", "dead", "several", "many", "ladder"])
def test_axe_finds_nothing_serious(
    name: str, size: tuple[int, int], scheme: Scheme, open_page: Open
) -> None:
    page = open_page(name, size, scheme)
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
    found: dict[str, Any] = page.evaluate("axe.run(document)")
    assert found["passes"]
    serious = [each for each in found["violations"] if each["impact"] in {"serious", "critical"}]
    assert [(each["id"], each["nodes"][0]["html"]) for each in serious] == []


@pytest.mark.parametrize("name", ["evil-run", "evil-dead", "evil-ladder"])
def test_text_of_others_stays_text(name: str, open_page: Open) -> None:
    page = open_page(name)
    assert "owned" not in page.title().partition("<script>")[0]
    assert page.title() != "owned"
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert plain(pages.CONTROLS) + pages.EVIL in page.locator("body").inner_text()


def test_a_script_that_got_in_would_not_run(open_page: Open) -> None:
    page = open_page("pass")
    page.evaluate(
        "const evil = document.createElement('script'); evil.text = 'window.owned = 1';"
        "document.body.append(evil)"
    )
    assert page.evaluate("window.owned === undefined")
    assert any("Content Security Policy" in each for each in open_page.said)


def test_a_command_is_copied_as_it_stands(open_page: Open) -> None:
    page = open_page("pass")
    page.get_by_role("button", name="Copy QEMU of guest").click()
    page.get_by_role("status").get_by_text("Copied").wait_for(state="attached")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#command1").inner_text()
    assert copied.split() == ["qemu-system-x86_64", "\\", "-accel", "kvm"]


def test_without_a_clipboard_the_command_is_still_copied(open_page: Open) -> None:
    page = open_page("pass")
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error('no')))")
    page.get_by_role("button", name="Copy QEMU of guest").click()
    page.get_by_role("status").get_by_text("Copied").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()").startswith("qemu-system-x86_64")


def test_the_keyboard_is_enough(open_page: Open) -> None:
    page = open_page("pass", PHONE)
    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the report"
    assert (focused.bounding_box() or {"y": -1})["y"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_what_is_focused_is_seen(open_page: Open) -> None:
    page = open_page("pass")
    able = "a[href], button:not([hidden]), summary, [tabindex='0']"
    expected = page.locator(able).evaluate_all("all => all.filter(e => e.checkVisibility()).length")
    seen, hidden = 0, []
    for _ in range(expected):
        page.keyboard.press("Tab")
        seen += page.locator(":focus").count()
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        hidden += [page.evaluate("document.activeElement.outerHTML")] if style == "none" else []
    assert hidden == []
    assert seen == expected > 20


def test_a_log_opens_by_key(open_page: Open) -> None:
    page = open_page("pass")
    log = page.get_by_text("line 299")
    assert not log.is_visible()
    page.locator("#logs summary").focus()
    page.keyboard.press("Enter")
    assert log.is_visible()


def test_a_failing_run_begins_with_what_is_red(open_page: Open) -> None:
    page = open_page("fail")
    first = page.locator("main section").first
    assert first.get_by_role("heading", level=2).inner_text() == "What is red"
    assert "hops.in" in first.inner_text()
    assert "last seen at br0" in page.locator("#path").inner_text()
