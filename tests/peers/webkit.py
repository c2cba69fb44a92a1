"""WebKitGTK's MiniBrowser, driven by WebKitWebDriver (W3C WebDriver over HTTP), in Xvfb.

Its microphone is one that WebKit makes itself: a hum, and twice in a second a short beep.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from .. import ports

#: Frequency of the hum, in Hz.
TONE = 150.0

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_PATIENCE = 60.0
_BROWSERS = "usr/lib/*/webkit2gtk-4.1/MiniBrowser"


def available() -> bool:
    """Whether the browser, a display without a screen, and what it plays to are installed."""
    return all(shutil.which(each) for each in ("WebKitWebDriver", "Xvfb", "pulseaudio"))


def _browser() -> str:
    (found,) = Path("/").glob(_BROWSERS)
    return str(found)


class WebKitPage:
    """The page in the one window."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    async def start(self, browser: str) -> None:
        """Begin a session."""
        options = {
            "binary": browser,
            "args": ["--automation", "--enable-mock-capture-devices=true"],
        }
        always = {"webkitgtk:browserOptions": options, "acceptInsecureCerts": True}
        session = await self._ask("POST", "/session", {"capabilities": {"alwaysMatch": always}})
        self._session = f"/session/{session['sessionId']}"
        await self._ask("POST", "/timeouts", {"script": 20_000})

    async def end(self) -> None:
        """End the session, and the browser with it."""
        await self._ask("DELETE", "")

    async def open(self, url: str) -> None:
        """Load an address, and wait until it has loaded."""
        await self._ask("POST", "/url", {"url": url})

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        script = (
            "const done = arguments[0];"
            f"(async () => JSON.stringify(await ({expression})))()"
            ".then((value) => done({ value }), (error) => done({ error: String(error) }));"
        )
        request = {"script": script, "args": []}
        try:
            outcome = await self._ask("POST", "/execute/async", request)
        except AssertionError as error:
            # The page went to another one meanwhile, as it does after signing in.
            if "unload" not in str(error):
                raise
            outcome = await self._ask("POST", "/execute/async", request)
        if "error" in outcome:
            raise AssertionError(f"{expression}: {outcome['error']}")
        value = outcome.get("value")
        return None if value is None else json.loads(value)

    async def click(self, name: str) -> None:
        """Click an element by its test id, as a person does."""
        await self._ask("POST", f"/element/{await self._find(name)}/click", {})

    async def write(self, name: str, text: str) -> None:
        """Click a field by its test id, and type."""
        await self._ask("POST", f"/element/{await self._find(name)}/value", {"text": text})

    async def picture(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        shot = await self._ask("GET", "/screenshot")
        await trio.Path(path).write_bytes(base64.b64decode(shot))

    async def _find(self, name: str) -> str:
        locator = {"using": "css selector", "value": f'[data-testid="{name}"]'}
        found: str = (await self._ask("POST", "/element", locator))[_ELEMENT]
        return found

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        def ask() -> Any:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
            content = None if body is None else json.dumps(body)
            try:
                connection.request(method, self._session + path, content)
                return json.loads(connection.getresponse().read())["value"]
            finally:
                connection.close()

        value = await trio.to_thread.run_sync(ask)
        if isinstance(value, dict) and "stacktrace" in value:
            raise AssertionError(f"{path}: {value['error']}: {value['message']}")
        return value


@asynccontextmanager
async def webkit(folder: Path, card: dict[str, str]) -> AsyncIterator[WebKitPage]:
    """Run the browser while the block runs.

    Args:
        folder: for its files.
        card: environment variables that name the sound card.
    """
    port = ports.reserve()
    async with trio.open_nursery() as nursery:
        display = await nursery.start(_run_xvfb)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "DISPLAY": f":{display}",
            "GDK_BACKEND": "x11",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            **card,
        }
        with (folder / "webkit.log").open("wb") as log:
            await nursery.start(
                partial(
                    trio.run_process,
                    ["WebKitWebDriver", "--host=127.0.0.1", f"--port={port}"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=False,
                    env=environment,
                )
            )
            await _listens(port)
            page = WebKitPage(port)
            await page.start(_browser())
            try:
                yield page
            finally:
                with trio.move_on_after(5, shield=True):
                    await page.end()
                nursery.cancel_scope.cancel()


async def _run_xvfb(*, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    """A display without a screen; reports its number."""
    reading, writing = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writing),
        "-screen",
        "0",
        "1280x800x24",
        "-nolisten",
        "tcp",
    ]
    async with trio.open_nursery() as nursery:
        await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                pass_fds=(writing,),
            )
        )
        os.close(writing)
        async with trio.lowlevel.FdStream(reading) as output:
            number = b""
            while not number.endswith(b"\n"):
                received = await output.receive_some()
                assert received, "Xvfb has ended"
                number += received
        task_status.started(number.decode().strip())
        await trio.sleep_forever()


async def _listens(port: int) -> None:
    with trio.fail_after(_PATIENCE):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return
