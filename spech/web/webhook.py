"""The webhook: tells another program of incoming calls, as JSON over HTTP.

The operator of the server sets it, not a person at a page, because the server sends the requests.
"""

from __future__ import annotations

import logging
from typing import Final, Literal

import httpx
import msgspec
import trio

from spech.errors import SpechError
from spech.http_client import http_client

_log: Final = logging.getLogger(__name__)

#: Notes that wait; further ones are dropped.
_WAITING: Final = 100
#: Seconds for one request.
_PATIENCE: Final = 5.0


class CallNote(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of an incoming call.

    ``event`` is "ringing", "answered" or "ended", ``at`` seconds since 1970. ``account`` is the SIP
    URI that was called, ``number`` and ``name`` are the caller's. At the end, ``seconds`` are those
    since the answer, None if there was none, and ``text`` says how it ended.
    """

    event: Literal["ringing", "answered", "ended"]
    at: float
    call: str
    person: str
    account: str
    number: str
    name: str | None
    seconds: float | None = None
    text: str = ""


class Webhook:
    """Posts notes to ``url``, one after the other. What is answered is not read.

    Raises:
        SpechError: ``url`` is not an HTTP URL, or has a user in it.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = httpx.URL(url)
            self._host = self._url.host
        except (httpx.InvalidURL, ValueError) as error:
            raise SpechError(f"The webhook is not a URL: {error}.") from error
        if self._url.scheme not in ("http", "https") or not self._host:
            raise SpechError("The webhook must be a URL that begins with http:// or https://.")
        if self._url.userinfo:
            raise SpechError("The URL of the webhook cannot have a user in it.")
        self._send, self._receive = trio.open_memory_channel[CallNote](_WAITING)

    def tell(self, note: CallNote) -> None:
        """Queue a note."""
        try:
            self._send.send_nowait(note)
        except trio.WouldBlock:
            _log.warning("the webhook at %s is too slow: a note is dropped", self._host)

    async def run(self) -> None:
        """Post the notes until cancelled. A note that cannot be posted is logged and dropped."""
        async with http_client(keeps_connections=False) as client:
            async for note in self._receive:
                try:
                    failure = await self._post(client, note)
                except Exception as error:
                    failure = str(error) or type(error).__name__
                if failure:
                    _log.warning("the webhook at %s failed: %s", self._host, failure)

    async def _post(self, client: httpx.AsyncClient, note: CallNote) -> str:
        """Post a note once. Returns why it was not taken, empty if it was."""
        body = msgspec.json.encode(note)
        headers = {"Content-Type": "application/json"}
        with trio.fail_after(_PATIENCE):
            async with client.stream("POST", self._url, content=body, headers=headers) as answer:
                return "" if answer.is_success else f"it answers {answer.status_code}"
