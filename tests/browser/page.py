"""The web phone in a real browser, and its server.

Needs Playwright (``pip install spech[dev]``) and a browser that it can drive.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import BrowserContext, Dialog, Locator, Page, expect

from spech.cli import main
from spech.testing.asterisk import Asterisk
from spech.testing.dialplan import PASSWORD
from spech.web import app
from spech.web.admin import MakeLink, SignInLink, ask_server

_STOP_SECONDS = 15.0
_WAIT_SECONDS = 15.0

# Processing of the microphone would suppress a tone as noise.
_UNPROCESSED = """
localStorage["spech.processing"] ??= JSON.stringify(
  { echoCancellation: false, noiseSuppression: false, autoGainControl: false });
"""

# Each server is a process of its own, forked from one that has imported everything already: the
# imports take a second and more on a busy machine.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "spech.web.app", __name__])


def _serve(
    output: Connection, grace: float, arguments: list[str], environment: dict[str, str]
) -> None:
    """``spech serve``, except that it ends calls without a page after ``grace`` seconds."""
    os.environ.update(environment)
    os.dup2(output.fileno(), 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    app.serve = partial(app.serve, grace=grace)
    main(["serve", *arguments])


class Server:
    """A ``spech serve`` process on its own ports, running inside a ``with`` block.

    Args:
        data: its data folder.
        grace: seconds that a call outlives its last page.

    Attributes:
        url: the page's address.
    """

    def __init__(self, data: Path, *, grace: float) -> None:
        self.url = ""
        self._data = data
        self._grace = grace
        self._arguments = ["--data", str(data), "--sip-host", "127.0.0.1"]
        self._arguments += ["--audio-port", "0", "--port", "0"]

    def restart(self) -> None:
        """End the process, and start another one on the same port."""
        self.stop()
        self._arguments[-1] = self.url.rstrip("/").rpartition(":")[2]
        self.__enter__()

    def __enter__(self) -> Server:
        reader, writer = _PROCESSES.Pipe(duplex=False)
        with reader, writer:
            self._process = _PROCESSES.Process(
                target=_serve, args=(writer, self._grace, self._arguments, dict(os.environ))
            )
            self._process.start()
            writer.close()
            with open(reader.fileno(), closefd=False) as output:
                for line in output:
                    if found := re.search(r"http://[^\s/]+/", line):
                        self.url = found[0]
                        return self
        self._process.join()
        raise AssertionError(f"spech serve ended with status {self._process.exitcode}")

    @property
    def link(self) -> str:
        """A new link to sign in."""
        (reply,) = list(ask_server(self._data, MakeLink()) or [])
        assert isinstance(reply, SignInLink)
        return reply.url

    def sign_in(self, context: BrowserContext) -> None:
        """Have the pages of a browser's context signed in."""
        token = self.link.rpartition("#link=")[2]
        assert context.request.post(f"{self.url}session", data={"link": token}).status == 204

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.is_alive():
            self.stop()
        self._process.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait until the process exits, and return its status."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        self._process.join(_STOP_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"spech serve still runs {_STOP_SECONDS} s after {number!r}")
        return self._process.exitcode


def browser_program() -> str | None:
    """The path of a Chromium, or None."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Telephone:
    """The page, in the terms of its user."""

    def __init__(self, page: Page, url: str, pictures: Path) -> None:
        self.page = page
        self.url = url
        self.pictures = pictures
        #: Exceptions that the page's scripts did not catch.
        self.errors: list[str] = []
        page.add_init_script(_UNPROCESSED)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        #: Dialogs of the browser on leaving a page with a call; each was accepted.
        self.questions = 0
        page.on("dialog", self._agree)

    def _agree(self, dialog: Dialog) -> None:
        self.questions += 1
        dialog.accept()

    def open(self) -> None:
        self.page.goto(self.url)
        self.wait_for("window.spech?.state")

    def reload(self) -> None:
        self.page.reload()
        self.wait_for("window.spech?.state")

    def element(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def status(self, text: str) -> None:
        """Wait until the call's status has this text."""
        expect(self.element("status")).to_contain_text(text)

    def fill_settings(self, server: str, port: int, user: str, password: str) -> None:
        if not self.element("set-server").is_visible():
            welcome = self.element("welcome-settings")
            (welcome if welcome.is_visible() else self.element("settings-open")).click()
        self.element("set-server").fill(server)
        self.element("set-port").fill(str(port))
        self.element("set-transport").select_option("udp")
        self.element("set-user").fill(user)
        self.element("set-password").fill(password)

    def save_settings(self) -> None:
        self.element("settings-save").click()

    def sign_in(self, pbx: Asterisk) -> None:
        self.fill_settings(pbx.host, pbx.port, "alice", PASSWORD)
        self.save_settings()
        self.await_registrations(1)
        self.element("settings-close").click()
        expect(self.element("number")).to_be_visible()

    def await_registrations(self, count: int) -> None:
        """Wait until there are this many accounts, all registered."""
        self.wait_for(
            f"spech.state.accounts.length === {count} && spech.state.accounts.every("
            "account => account.registration.state === 'registered')"
        )

    def dial(self, number: str) -> None:
        self.element("number").fill(number)
        self.element("call").click()

    def hear(self, seconds: float) -> tuple[NDArray[np.int16], int]:
        """The sound that the page plays in the next seconds, and its rate in Hz."""
        heard = self.page.evaluate("async (seconds) => spech.capture(seconds)", seconds)
        samples = np.array(heard["samples"])
        return np.round(samples * 32768).clip(-32768, 32767).astype(np.int16), heard["rate"]

    @property
    def shown(self) -> str:
        """The text of the page, and the calls of its state, for those who look into a failure."""
        shown = "document.body.innerText.split(/\\s*\\n\\s*/).join(' | ')"
        return str(self.page.evaluate(f"{shown} + ' ' + JSON.stringify(spech.state.calls)"))

    def press(self, keys: str) -> None:
        names = {"*": "star", "#": "hash"}
        for key in keys:
            self.element(f"key-{names.get(key, key)}").click()

    @property
    def calls(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = self.page.evaluate("spech.state.calls")
        return found

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression, or what it promises, is true.

        Playwright's own ``wait_for_function`` needs ``eval``, which the page's policy forbids.

        Raises:
            TimeoutError: it is not true within fifteen seconds; the message shows the state.
        """
        give_up = time.monotonic() + _WAIT_SECONDS
        while not self.page.evaluate(f"Promise.resolve({condition}).then(Boolean)"):
            if time.monotonic() > give_up:
                state = self.page.evaluate("JSON.stringify(window.spech?.state)")
                raise TimeoutError(f"not true in time: {condition}\n{state}")
            self.page.wait_for_timeout(20)

    def picture(self, name: str) -> None:
        """Save a screenshot for people to look at."""
        self.pictures.mkdir(exist_ok=True)
        self.page.screenshot(path=self.pictures / f"{name}.png", animations="disabled")
