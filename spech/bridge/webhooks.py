"""Tells a server of the operator what becomes of calls, over HTTP.

Nothing in a call waits for that server. Events of one call arrive in order; what the server does
not take is sent again for some minutes, and then dropped and counted.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
import trio

from spech.bridge.access import Access, read_secret, signature
from spech.bridge.records import EVENT_NAMES, CallEventName, CallRecord
from spech.bridge.url import VISIBLE
from spech.errors import LocalProtocolError
from spech.http_client import http_client
from spech.scopes import open_scope, open_shelter

_log: Final = logging.getLogger(__name__)

#: Queues, and requests at once. The events of one call are in one of them.
_LANES: Final = 8
#: Events that wait in each; further ones are dropped.
_MOST_WAITING: Final = 500
#: Seconds until the server must have answered.
_ANSWER_SECONDS: Final = 10.0
#: Bytes of its body.
_LONGEST_ANSWER: Final = 65536
#: Seconds before the second try; each further pause is twice as long, up to the longest.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
#: Seconds after which an event is dropped.
_LONGEST_DELAY: Final = 600.0
#: Seconds at the end of the bridge for what waits.
_FAREWELL_SECONDS: Final = 5.0
#: Statuses of a 4xx after which it is worth while to try again (RFC 9110 15.5.9, RFC 6585 4).
_AGAIN: Final = frozenset({408, 425, 429})


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a call.

    Attributes:
        id: the same for each try, by which the receiver recognizes what it has already.
        event: what happened.
        at: when.
        call: the call's record at that time.
    """

    id: str
    event: CallEventName
    at: datetime
    call: CallRecord


@dataclass(frozen=True, slots=True)
class _Waiting:
    body: bytes
    until: float


class Webhooks:
    """Sends events to one URL. Made by :func:`open_webhooks`."""

    def __init__(
        self,
        url: str,
        access: Access,
        client: httpx.AsyncClient,
        on_outcome: Callable[[bool], object],
    ) -> None:
        self._url = url
        self._access = access
        self._client = client
        self._on_outcome = on_outcome
        self._lanes: list[deque[_Waiting]] = [deque() for _ in range(_LANES)]
        self._wanted = [trio.Event() for _ in range(_LANES)]
        self._idle = trio.lowlevel.ParkingLot()
        self._failing = False

    def note(self, record: CallRecord) -> None:
        """A call has changed its state. Returns at once."""
        event = WebhookEvent(
            id=uuid.uuid4().hex,
            event=EVENT_NAMES[record.state],
            at=datetime.now(UTC),
            call=record,
        )
        lane = int(record.id[:8], 16) % _LANES
        waiting = self._lanes[lane]
        if len(waiting) >= _MOST_WAITING:
            self._drop("too many wait")
            return
        until = trio.current_time() + _LONGEST_DELAY
        waiting.append(_Waiting(msgspec.json.encode(event), until))
        self._wanted[lane].set()

    async def run(self) -> None:
        """Send what is noted, until cancelled."""
        async with open_scope() as nursery:
            for lane in range(_LANES):
                nursery.start_soon(self._run_lane, lane)

    async def sent_all(self) -> None:
        """Wait until nothing waits."""
        while any(self._lanes):
            await self._idle.park()

    async def _run_lane(self, lane: int) -> None:
        waiting = self._lanes[lane]
        while True:
            while waiting:
                try:
                    await self._deliver(waiting[0])
                except Exception:
                    _log.exception("an event for the webhook is dropped")
                    self._on_outcome(False)
                waiting.popleft()
            self._idle.unpark_all()
            self._wanted[lane] = trio.Event()
            await self._wanted[lane].wait()

    async def _deliver(self, event: _Waiting) -> None:
        """Send an event until the server takes it, refuses it for good, or it is too late."""
        pause = _FIRST_PAUSE
        while True:
            failure = await self._send(event.body)
            if failure is None:
                self._on_outcome(True)
                if self._failing:
                    self._failing = False
                    _log.warning("the webhook takes events again")
                return
            if not failure.again or trio.current_time() + pause > event.until:
                self._drop(failure.reason)
                return
            self._complain(failure.reason)
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _send(self, body: bytes) -> _Failure | None:
        """Try once. None where the server has taken the event."""
        headers = {"Content-Type": "application/json"}
        key_file = self._access.signing_key_file
        try:
            if key_file is not None:
                key = await trio.to_thread.run_sync(read_secret, key_file)
                headers["X-Spech-Signature"] = signature(key, body, time.time())
            with trio.fail_after(_ANSWER_SECONDS):
                async with self._client.stream(
                    "POST", self._url, content=body, headers=headers
                ) as answer:
                    status = answer.status_code
                    await _pass_over(answer)
        except (httpx.HTTPError, LocalProtocolError, trio.TooSlowError) as error:
            return _Failure(str(error) or type(error).__name__, again=True)
        if 200 <= status < 300:
            return None
        return _Failure(f"it answers {status}", again=status >= 500 or status in _AGAIN)

    def _drop(self, reason: str) -> None:
        self._on_outcome(False)
        self._complain(reason)

    def _complain(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            _log.warning("the webhook does not take events: %s", reason)


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    again: bool


async def _pass_over(answer: httpx.Response) -> None:
    """Read the body of an answer, so that its connection can be used again, unless it is long."""
    read = 0
    async for part in answer.aiter_raw():
        read += len(part)
        if read > _LONGEST_ANSWER:
            break


def check_webhook(url: str) -> None:
    """Check the URL of a webhook.

    Raises:
        LocalProtocolError: it is not ``http://…`` or ``https://…``, or has a user in it.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or not VISIBLE.fullmatch(url):
        raise LocalProtocolError(f"{url!r} is not http://host[:port]/path or https://…")


@asynccontextmanager
async def open_webhooks(
    url: str, access: Access, on_outcome: Callable[[bool], object] = lambda taken: None
) -> AsyncIterator[Webhooks]:
    """Send events for the time of a block; on exit, what waits has some seconds left.

    Args:
        url: where to.
        access: has the key that signs, and what TLS trusts.
        on_outcome: called for each event: with True where the server has taken it, with False
            where it is dropped.
    """
    async with http_client(access.tls) as client, open_shelter() as nursery:
        webhooks = Webhooks(url, access, client, on_outcome)
        nursery.start_soon(webhooks.run)
        try:
            yield webhooks
        finally:
            with trio.move_on_after(_FAREWELL_SECONDS, shield=True):
                await webhooks.sent_all()
