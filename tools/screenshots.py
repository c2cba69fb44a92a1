"""Makes the pictures of the README: the phone of `spech demo`, in Chromium.

    make screenshots

It starts `spech demo` on ports of its own, calls from the page, has it called, and saves what is
seen in docs/pictures.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.page import browser_program

PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"
PASSWORD: Final = "only-for-the-pictures"
ARGUMENTS: Final = (
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)


@contextmanager
def demo() -> Iterator[tuple[str, str]]:
    """Run `spech demo`; yields the link that signs in and the address of its exchange."""
    command = [sys.executable, "-m", "spech", "demo", "--port", "18180", "--audio-port", "18188"]
    command += ["--password", PASSWORD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            link = exchange = ""
            for line in process.stdout:
                link = link or "".join(re.findall(r"http://\S+#link=\S+", line))
                exchange = exchange or "".join(re.findall(r"sip:bob@(\S+)", line))
                if link and exchange:
                    break
            yield link, exchange
        finally:
            process.terminate()


@contextmanager
def opened(
    browser: Browser, address: str, width: int, height: int, **options: Any
) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=1.5,
        locale="en",
        permissions=["microphone"],
        **options,
    )
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_test_id("number")).to_be_visible(timeout=20_000)
    try:
        yield page
    finally:
        context.close()


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with demo() as (link, exchange), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_program(), args=ARGUMENTS)
        with opened(browser, link, 1180, 800) as desktop:
            desktop.get_by_test_id("number").fill("600")
            desktop.get_by_test_id("call").click()
            expect(desktop.get_by_test_id("status")).to_contain_text("In call", timeout=20_000)
            desktop.wait_for_timeout(4_000)
            desktop.screenshot(path=PICTURES / "call.png")
            desktop.get_by_test_id("hangup").click()
            expect(desktop.get_by_test_id("status")).to_contain_text("You hung up")
            signed_in = desktop.context.storage_state()
        page = link.partition("#")[0]
        with opened(browser, page, 390, 780, color_scheme="dark", storage_state=signed_in) as phone:
            phone.screenshot(path=PICTURES / "dialer.png")
            call = [sys.executable, "-m", "spech", "call", "alice", "--quiet"]
            call += ["--account", f"sip:bob@{exchange}"]
            environment = os.environ | {"SPECH_SIP_PASSWORD": PASSWORD}
            with subprocess.Popen(call, env=environment) as calling:
                expect(phone.get_by_test_id("answer")).to_be_visible(timeout=20_000)
                phone.wait_for_timeout(500)
                phone.screenshot(path=PICTURES / "incoming.png")
                calling.terminate()
        browser.close()


if __name__ == "__main__":
    main()
