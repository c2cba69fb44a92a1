"""JsSIP in Chromium at the other end: WebRTC, over a SIP proxy's WebSocket.

The page sends a tone of 700 Hz. It is built from page/app.js by ``tools/setup.sh peers``.
"""

from __future__ import annotations

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
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from spech.testing.asterisk import cache

#: Frequency of the tone that the page sends, in Hz.
TONE_FREQUENCY = 700.0

_PATIENCE = 30.0
_SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
)
#: Without it, a page that has no microphone permission hides its addresses (mDNS candidates).
SHOWS_ADDRESSES = "--disable-features=WebRtcHideLocalIpsWithMdns"


def bundle() -> Path:
    """The page's script, with JsSIP in it."""
    return cache() / "peers" / "jssip" / "bundle.js"


def why_not() -> str | None:
    """What is missing to run it, None if nothing is missing."""
    if shutil.which("chromium") is None:
        return "chromium is not installed; `make test-peers` installs it"
    if not bundle().exists():
        return f"{bundle()} is missing; `make test-peers` makes it"
    return None


class PageFailed(Exception):
    """The page's script raised an exception, or an expected condition did not become true."""


class Page:
    """The page, which evaluates JavaScript."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def evaluate(self, script: str) -> Any:
        """The value of an expression; promises are awaited.

        Raises:
            PageFailed: it raised an exception; the message is the page's.
        """
        await self._connection.send_message(script)
        answer = json.loads(await self._connection.get_message())
        if "error" in answer:
            raise PageFailed(f"{script}: {answer['error']}")
        return answer["result"]

    async def until(self, condition: str) -> None:
        """Wait until an expression is true.

        Raises:
            PageFailed: it is not true within thirty seconds; the message has the page's log.
        """
        with trio.move_on_after(_PATIENCE):
            while not await self.evaluate(f"Boolean({condition})"):  # noqa: ASYNC110
                await trio.sleep(0.1)
            return
        log = await self.evaluate("state.log.join('\\n')")
        raise PageFailed(f"not true in time: {condition}\n{log}")

    async def register(self, port: int, user: str, host: str = "127.0.0.1") -> None:
        """Register at the proxy at this port."""
        await self.evaluate(f"register('ws://{host}:{port}/ws', '{user}', '{host}')")
        await self.until("state.registered")

    async def hear(self, *frequencies: float) -> None:
        """Wait until these are the loudest frequencies, within 20 Hz, and above -60 dB.

        Raises:
            PageFailed: they are not within thirty seconds.
        """
        await self.until(f"hears({json.dumps(frequencies)})")

    async def hear_nothing(self) -> None:
        """Wait until it receives silence."""
        await self.until("peaks(1).level < -75")


@asynccontextmanager
async def running(directory: Path, *switches: str) -> AsyncIterator[Page]:
    """Open the page in a separate Chromium while the block runs.

    Args:
        directory: where the page and the browser's profile go.
        switches: more of Chromium's.
    """
    shutil.copy(bundle(), directory / "bundle.js")
    page = directory / "page.html"
    page.write_text('<!doctype html><meta charset="utf-8"><script src="bundle.js"></script>')
    pages_in, pages = trio.open_memory_channel[Page](1)
    over = trio.Event()

    async def take(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await pages_in.send(Page(connection))
        await over.wait()

    async with trio.open_nursery() as nursery:
        server = await nursery.start(
            partial(serve_websocket, take, "127.0.0.1", 0, None, connect_timeout=_PATIENCE)
        )
        command = ["chromium", *_SWITCHES, *switches, f"--user-data-dir={directory / 'profile'}"]
        command += [f"{page.as_uri()}#ws://127.0.0.1:{server.port}/"]
        process = await nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
                env={**os.environ, "HOME": str(directory)},
            )
        )
        try:
            with trio.fail_after(_PATIENCE):
                opened = await pages.receive()
            yield opened
        except ConnectionClosed as error:
            raise PageFailed("Chromium ended") from error
        finally:
            process.terminate()
            over.set()
            nursery.cancel_scope.cancel()
