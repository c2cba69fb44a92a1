"""Firefox, driven over WebDriver BiDi (https://w3c.github.io/webdriver-bidi/).

Its microphone is a tone that it makes itself. It reaches nothing but this machine.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

#: Frequency of the microphone's tone, in Hz.
TONE = 700.0
#: A host name that means this machine there.
NAME = "phone.example.org"

_PATIENCE = 60.0
_LARGEST_MESSAGE = 8 << 20
_PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.audio.fake_frequency": int(TONE),
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    # All other hosts are behind a proxy that is not there.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": NAME,
    "network.dns.localDomains": NAME,
}
# A tone would be suppressed as noise.
_UNPROCESSED = """() => {
  localStorage["spech.processing"] = JSON.stringify(
    { echoCancellation: false, noiseSuppression: false, autoGainControl: false });
}"""


def available() -> bool:
    """Whether Firefox is installed, and what it plays to."""
    return None not in (shutil.which("firefox-esr"), shutil.which("pulseaudio"))


class FirefoxPage:
    """The page in the one window."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._context = ""

    async def start(self) -> None:
        """Begin a session."""
        await self._ask("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
        tree = await self._ask("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self._ask("script.addPreloadScript", functionDeclaration=_UNPROCESSED)

    async def open(self, url: str) -> None:
        """Load an address, and wait until it has loaded."""
        await self._ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are awaited."""
        outcome = await self._ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if outcome["type"] == "exception":
            raise AssertionError(f"{expression}: {outcome['exceptionDetails']['text']}")
        value = outcome["result"].get("value")
        return None if value is None else json.loads(value)

    async def click(self, name: str) -> None:
        """Click an element by its test id, as a person does, who scrolls to it first."""
        await self.evaluate(
            f"document.querySelector('[data-testid={name}]').scrollIntoView({{ block: 'nearest' }})"
        )
        found = await self._ask(
            "browsingContext.locateNodes",
            context=self._context,
            locator={"type": "css", "value": f'[data-testid="{name}"]'},
        )
        (node,) = found["nodes"]
        origin = {"type": "element", "element": {"sharedId": node["sharedId"]}}
        moves = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        await self._act({"type": "pointer", "id": "mouse", "actions": moves})

    async def write(self, name: str, text: str) -> None:
        """Click a field by its test id, and type."""
        await self.click(name)
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        await self._act({"type": "key", "id": "keys", "actions": keys})

    async def picture(self, path: Path) -> None:
        """Save what the window shows as PNG."""
        shot = await self._ask("browsingContext.captureScreenshot", context=self._context)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))

    async def _act(self, actions: dict[str, Any]) -> None:
        await self._ask("input.performActions", context=self._context, actions=[actions])

    async def _ask(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        await self._connection.send_message(json.dumps(message))
        while True:
            answer = json.loads(await self._connection.get_message())
            if answer.get("id") == number:
                break
        if answer["type"] == "error":
            raise AssertionError(f"{method}: {answer['error']}: {answer['message']}")
        return answer["result"]


@asynccontextmanager
async def firefox(folder: Path, card: dict[str, str]) -> AsyncIterator[FirefoxPage]:
    """Run Firefox while the block runs, with its profile in ``folder``.

    Args:
        folder: for its files.
        card: environment variables that name the sound card.
    """
    profile = folder / "firefox"
    profile.mkdir()
    lines = [
        f"user_pref({json.dumps(name)}, {json.dumps(_PREFERENCES[name])});" for name in _PREFERENCES
    ]
    (profile / "user.js").write_text("\n".join(lines))
    command = ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile)]
    command += ["--remote-debugging-port", "0"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                capture_stderr=False,
                check=False,
                env={**os.environ, "HOME": str(folder), **card},
            )
        )
        with trio.fail_after(_PATIENCE):
            address = await _listening(process.stderr)
        nursery.start_soon(_drain, process.stderr)
        try:
            async with open_websocket_url(
                f"{address}/session", max_message_size=_LARGEST_MESSAGE
            ) as connection:
                page = FirefoxPage(connection)
                await page.start()
                yield page
        except ConnectionClosed as error:
            raise AssertionError("Firefox ended") from error
        finally:
            nursery.cancel_scope.cancel()


async def _listening(output: trio.abc.ReceiveStream) -> str:
    printed = b""
    while not (found := re.search(rb"WebDriver BiDi listening on (ws://\S+)", printed)):
        received = await output.receive_some()
        assert received, f"Firefox has ended: {printed.decode(errors='replace')}"
        printed += received
    return found[1].decode()


async def _drain(output: trio.abc.ReceiveStream) -> None:
    async for _ in output:
        pass
