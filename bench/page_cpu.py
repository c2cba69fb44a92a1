"""What a call of the web page costs the browser, in percent of a core, beside a minimal page.

    python bench/page_cpu.py [--rounds 5] [--seconds 10]

Chromium, without a screen, opens in turns the phone of `spech demo` in a call with the echo; the
same for a person who wants little motion; and a page that does nothing but carry sound: from the
microphone through an audio worklet into a WebSocket that sends it back, and through another worklet
to the speaker, at the same rate. Counted is the CPU of all of the browser's processes. Printed are
the median, the least and the most of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page, StorageState, expect, sync_playwright

from bench.machine import family, watching
from bench.servers import echo_peer
from tests.browser.page import browser_program
from tools.screenshots import ARGUMENTS, demo, opened

_SIZE: Final = (1366, 650)
_SETTLE: Final = 3.0


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _minimal(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context(permissions=["microphone"])
    page = context.new_page()
    page.goto(url)
    expect(page.get_by_text("carries")).to_be_visible()
    try:
        yield page
    finally:
        context.close()


@contextmanager
def _call(browser: Browser, state: StorageState, url: str, *, motion: str) -> Iterator[Page]:
    with opened(browser, url, *_SIZE, storage_state=state, reduced_motion=motion) as page:
        page.get_by_test_id("number").fill("600")
        page.get_by_test_id("call").click()
        expect(page.get_by_test_id("status")).to_contain_text("In call")
        yield page
        page.get_by_test_id("hangup").click()
        expect(page.get_by_test_id("status")).not_to_contain_text("In call")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    files = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=Path(__file__).parent))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    spent: dict[str, list[float]] = {}
    with echo_peer() as echo, demo() as (link, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_program(), args=ARGUMENTS)
        process = _browser_process()
        with opened(browser, link, *_SIZE) as page:
            state = page.context.storage_state()
        minimal = f"http://127.0.0.1:{files.server_port}/minimal_page.html#{echo}"
        url = link.partition("#")[0]
        sides = {
            "minimal page": lambda: _minimal(browser, minimal),
            "call": lambda: _call(browser, state, url, motion="no-preference"),
            "call, reduced motion": lambda: _call(browser, state, url, motion="reduce"),
        }
        for _ in range(options.rounds):
            for name, show in sides.items():
                with show():
                    time.sleep(_SETTLE)
                    with watching(process) as window:
                        time.sleep(options.seconds)
                spent.setdefault(name, []).append(100 * window.cpu / window.seconds)
    for name, each in spent.items():
        print(f"{name:22} {statistics.median(each):5.1f} ({min(each):.1f} to {max(each):.1f})")


def _browser_process() -> int:
    """The first of Chromium's processes."""
    for each in family(os.getpid()):
        words = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
        if b"chromium" in words[0] and not any(word.startswith(b"--type=") for word in words):
            return each
    raise RuntimeError("no Chromium")


if __name__ == "__main__":
    main()
