"""The server of an application, which is asked over HTTP what to do with calls."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import httpx
import trio

from spech.bridge.access import Access, read_secret, twilio_signature
from spech.bridge.link import STATUS, LinkFailed
from spech.bridge.twilio.progress import CallProgress
from spech.bridge.twilio.twiml import DocumentUrl, TwimlDocument, parse_twiml
from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.http_client import http_client
from spech.scopes import open_shelter

_log: Final = logging.getLogger(__name__)

#: Seconds until an answer must be complete; meanwhile a new call rings.
_ANSWER_SECONDS: Final = 15.0
#: Bytes of a document, and of a sound.
_LARGEST_DOCUMENT: Final = 64 << 10
_LARGEST_SOUND: Final = 16 << 20
#: Seconds before each attempt to tell an application something.
_PAUSES: Final = (0.0, 1.0, 5.0)
#: Calls about which applications are told; about further ones they are not.
_MOST_FOLLOWED: Final = 1000
#: Of these, requests at once: a server that is stuck must not use up the connections.
_MOST_TOLD_AT_ONCE: Final = 50
#: Seconds at the end of the bridge for what is to be told.
_FAREWELL_SECONDS: Final = 5.0


class Application:
    """The server of an application. Made by :func:`open_application`.

    Each request is signed as Twilio does it, if there is a key.
    """

    def __init__(self, client: httpx.AsyncClient, nursery: trio.Nursery) -> None:
        self._client = client
        self._nursery = nursery
        self._followed = 0
        self._telling = trio.Semaphore(_MOST_TOLD_AT_ONCE)
        self._idle = trio.lowlevel.ParkingLot()

    async def document(self, where: DocumentUrl, form: Mapping[str, str]) -> TwimlDocument:
        """Ask for a document. What is left out of it is logged.

        Args:
            where: its URL.
            form: what the application is told.

        Raises:
            LinkFailed: there is none; its status is for the caller.
        """
        body = await self._ask(where, form, _LARGEST_DOCUMENT)
        try:
            return parse_twiml(body, where.url)
        except RemoteProtocolError as error:
            raise LinkFailed(f"{shown_url(where.url)} answers with no TwiML: {error}") from error

    async def sound(self, url: str) -> bytes:
        """Fetch a sound file.

        Raises:
            LinkFailed: there is none, or it is larger than 16 MiB.
        """
        return await self._ask(DocumentUrl(url, "GET"), {}, _LARGEST_SOUND)

    def follow(self, progress: CallProgress) -> None:
        """Tell the application how a call gets on, in order. Nothing waits for it."""
        if self._followed < _MOST_FOLLOWED:
            self._followed += 1
            self._nursery.start_soon(self._tell, progress)
        else:
            _log.warning("an application is not told about a call: too many of them wait for that")

    async def told_all(self) -> None:
        """Wait until it has been told about all calls to their end."""
        while self._followed:
            await self._idle.park()

    async def _tell(self, progress: CallProgress) -> None:
        try:
            async for form in progress.forms:
                await self._try(progress.where, form)
        except Exception:
            _log.exception("an application is not told the rest about a call")
        finally:
            self._followed -= 1
            if not self._followed:
                self._idle.unpark_all()

    async def _try(self, where: DocumentUrl, form: Mapping[str, str]) -> None:
        for pause in _PAUSES:
            await trio.sleep(pause)
            try:
                async with self._telling:
                    await self._ask(where, form, None)
            except LinkFailed as error:
                failure = error
            else:
                return
        _log.warning("call %s: its status is not told: %s", form["CallSid"], failure)

    async def _ask(self, where: DocumentUrl, form: Mapping[str, str], largest: int | None) -> bytes:
        """The body of an answer.

        Args:
            where: what to ask.
            form: what is told.
            largest: bytes of the body; None not to read it.

        Raises:
            LinkFailed: there is none, or it is too large.
        """
        server = shown_url(where.url)
        try:
            url, data = httpx.URL(where.url), form
            if where.method == "GET":
                url, data = url.copy_merge_params(form), {}
            with trio.fail_after(_ANSWER_SECONDS):
                async with self._client.stream(where.method, url, data=data) as answer:
                    if not answer.is_success:
                        code = answer.status_code
                        raise LinkFailed(f"{server} answers with {code}", STATUS.get(code, 503))
                    if largest is None:
                        return b""
                    body = await _read(answer, largest)
        except trio.TooSlowError as error:
            raise LinkFailed(f"{server} does not answer", 504) from error
        except (httpx.HTTPError, httpx.InvalidURL, LocalProtocolError, ValueError) as error:
            # ValueError: a form, or the name of a host, that cannot be encoded.
            reason = str(error) or type(error).__name__
            raise LinkFailed(f"{server} cannot be asked: {reason}") from error
        if body is None:
            raise LinkFailed(f"{server} answers with more than {largest} bytes")
        return body


async def _read(answer: httpx.Response, largest: int) -> bytes | None:
    """The body of an answer, not decompressed, so that little cannot become much; None where it is
    too large."""
    body = bytearray()
    # The generators of httpx end well when they are cancelled, and not when they are left.
    with trio.CancelScope() as reading:
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > largest:
                reading.cancel()
    return bytes(body) if len(body) <= largest else None


@asynccontextmanager
async def open_application(access: Access) -> AsyncIterator[Application]:
    """An application's server for a block; on exit, what is to be told has some seconds left.

    Args:
        access: the key that signs requests, and what TLS trusts. Our certificate is not shown,
            because documents may name any server.
    """

    async def sign(request: httpx.Request) -> None:
        if access.signing_key_file is None:
            return
        key = await trio.to_thread.run_sync(read_secret, access.signing_key_file)
        pairs = parse_qsl((await request.aread()).decode(), keep_blank_values=True)
        signed = str(request.url) + "".join(name + value for name, value in sorted(pairs))
        request.headers["X-Twilio-Signature"] = twilio_signature(key, signed)

    async with (
        http_client(access.public.tls, follows=True, on_request=sign) as client,
        open_shelter() as nursery,
    ):
        application = Application(client, nursery)
        try:
            yield application
        finally:
            with trio.move_on_after(_FAREWELL_SECONDS, shield=True):
                await application.told_all()


def shown_url(url: str) -> str:
    """A URL without user, password and query, which may be secrets, for logs and records."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
