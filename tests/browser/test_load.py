"""What it takes until the page can be used: requests, and how many of them wait for one another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect

from .page import Server


class Requests:
    """The requests of a page, each with the one whose answer caused it."""

    def __init__(self, page: Page) -> None:
        #: The cause by address; None for the page itself.
        self.causes: dict[str, str | None] = {}
        devtools = page.context.new_cdp_session(page)
        devtools.send("Network.enable")
        devtools.on("Network.requestWillBeSent", self._requested)
        devtools.on("Network.webSocketCreated", self._requested)

    def _requested(self, event: dict[str, Any]) -> None:
        url = event.get("url") or event["request"]["url"]
        initiator = event.get("initiator", {})
        self.causes.setdefault(
            url, next(self._callers(initiator.get("stack")), initiator.get("url"))
        )

    def _callers(self, stack: dict[str, Any] | None) -> Iterator[str]:
        while stack is not None:
            yield from (frame["url"] for frame in stack["callFrames"])
            stack = stack.get("parent")

    def depth(self, url: str) -> int:
        """How many answers have come, one after the other, when that of this request is there."""
        cause = self.causes[url]
        return 1 if cause is None else 1 + self.depth(cause)


def test_the_page_can_be_used_after_three_round_trips(
    context: BrowserContext, server: Server
) -> None:
    """One for the page, one for its styles and scripts, one for texts and state.

    The views that nobody sees at first come afterwards.
    """
    server.sign_in(context)
    page = context.new_page()
    requests = Requests(page)
    page.goto(server.url)
    expect(page.get_by_test_id("welcome-settings")).to_be_visible()
    page.wait_for_load_state("networkidle")
    names = {url.rpartition("/")[2]: url for url in requests.causes}
    needed = {"", "index.css", "early.js", "app.js", "en.json", "control"}
    assert max(requests.depth(names[name]) for name in needed) == 3
    icons = {"favicon.svg", "manifest.webmanifest", "icon-maskable.svg"}
    afterwards = {"later.js", "tones.json", "countries.json"}
    assert needed <= names.keys() <= needed | icons | afterwards


def test_a_second_visit_asks_for_no_script_style_or_text(
    context: BrowserContext, server: Server
) -> None:
    """What the first visit brought is kept, until a file changes."""
    server.sign_in(context)
    page = context.new_page()
    for _ in range(2):
        page.goto(server.url)
        expect(page.get_by_test_id("welcome-settings")).to_be_visible()
        page.wait_for_load_state("networkidle")
    fetched = page.evaluate(
        "performance.getEntriesByType('resource').filter(({ transferSize }) => transferSize > 0)"
        ".map(({ name }) => name.split('/').at(-1))"
    )
    kept = {"index.css", "early.js", "app.js", "en.json", "later.js"}
    assert set(fetched) & kept == set()
