"""A real Chromium with a microphone that plays a tone, and a Spech server for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from spech.testing.asterisk import Asterisk
from spech.testing.audio import sine, write_wav
from spech.testing.plugin import unavailable

from .heard import TONE, TONE_LEVEL
from .page import Server, Telephone, browser_program

#: Seconds that a call outlives its last page in these tests.
GRACE = 2

SCREENSHOTS = Path(__file__).parent.parent.parent / "screenshots"

expect.set_options(timeout=10_000)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = browser_program()
    if program is None:
        unavailable("browser", "no chromium on PATH; `make test` installs one")
    # A whole number of periods, because the file is played in a loop.
    microphone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    write_wav(microphone, sine(TONE, 48000, 1, level=TONE_LEVEL), 48000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
                "--autoplay-policy=no-user-gesture-required",
                "--disable-background-networking",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts ``spech serve``, always with the same data folder."""
    with ExitStack() as running:
        yield lambda: running.enter_context(Server(tmp_path, grace=GRACE))


@pytest.fixture
def server(start_server: Callable[[], Server]) -> Server:
    return start_server()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with chromium.new_context(
        viewport={"width": 1100, "height": 820}, locale="en", permissions=["microphone"]
    ) as context:
        yield context


@pytest.fixture
def telephone(context: BrowserContext, server: Server) -> Iterator[Telephone]:
    """The page, open, with no account yet."""
    server.sign_in(context)
    telephone = Telephone(context.new_page(), server.url, SCREENSHOTS)
    telephone.open()
    yield telephone
    assert telephone.errors == []


@pytest.fixture
def registered(telephone: Telephone, pbx: Asterisk) -> Telephone:
    """The page with Alice's account, registered at the PBX."""
    telephone.sign_in(pbx)
    return telephone
