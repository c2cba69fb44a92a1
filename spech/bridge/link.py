"""The WebSocket to a bot: opened within a deadline, written without waiting, watched, closed."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import LocalProtocolError as ClosingError

from spech.bridge.access import Access
from spech.bridge.dialects.base import BotMessage
from spech.bridge.url import WebSocketUrl
from spech.errors import LocalProtocolError, SpechError
from spech.media.playback import Spawn
from spech.scopes import open_scope
from spech.sip.transaction.flow import host_port
from spech.websocket.frames import FrameStream
from spech.websocket.tls import secure

#: Seconds until the WebSocket must be open; meanwhile the call rings.
_CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
#: Seconds between two pings, and until each has to be answered.
_PING_SECONDS: Final = 10.0
_PONG_SECONDS: Final = 15.0
#: Bytes of the longest message: two minutes of speech at 16 kHz.
LARGEST_MESSAGE: Final = 4 << 20
#: Messages that wait for a bot that does not read, apart from sound.
_MOST_WAITING: Final = 1000
#: Codes with which a bot ends a call on purpose: done, going away, none given (RFC 6455 7.4.1).
_NORMAL: Final = (1000, 1001, 1005)
#: The code for a connection that broke.
_LOST: Final = 1006
#: The SIP status for the answer to a handshake; 503 for any other.
STATUS: Final = {401: 403, 403: 403, 429: 486, 480: 480, 486: 486, 600: 600, 603: 603}


class LinkFailed(SpechError):
    """There is no WebSocket to the bot, or it broke.

    Attributes:
        status: the SIP status for the caller.
    """

    def __init__(self, message: str, status: int = 503) -> None:
        super().__init__(message)
        self.status = status


class BotLink:
    """An open WebSocket to a bot. Nothing here waits for the bot, except tasks of the link.

    Made by :func:`open_link`.

    Attributes:
        failure: why it broke, None while it has not.
        used: whether something was sent that had to arrive.
    """

    def __init__(self, connection: WebSocketConnection, frames: FrameStream) -> None:
        self.failure: LinkFailed | None = None
        self.used = False
        self._connection = connection
        self._frames = frames
        self._outbox: deque[BotMessage] = deque()
        self._running = trio.CancelScope()
        #: Starts a task of :meth:`run`, None while that does not run.
        self._spawn: Spawn | None = None
        self._on_pcm: Callable[[bytes], object] = lambda pcm: None
        self._on_text: Callable[[str], object] = lambda text: None

    @property
    def dropped(self) -> int:
        """Frames of sound that the bot did not take."""
        return self._frames.dropped

    @property
    def poll(self) -> Callable[[], None]:
        """Reads what has arrived; to be called each tick."""
        return self._frames.poll

    @property
    def send_pcm(self) -> Callable[[bytes], bool]:
        """Sends a frame of sound, or drops it."""
        return self._frames.send_frame

    def send_sound(self, message: BotMessage) -> None:
        """Send a message with sound, or drop it where the bot does not read."""
        if isinstance(message, str):
            self._frames.send_text(message)
        else:
            self._frames.send_frame(message)

    def send(self, messages: Iterable[BotMessage]) -> None:
        """Send messages that must arrive, in this order. They wait where the bot does not read."""
        for message in messages:
            self.used = True
            if not self._outbox:
                dropped = self._frames.dropped
                if isinstance(message, str):
                    sent = self._frames.send_text(message)
                else:
                    sent = self._frames.send_frame(message)
                if sent:
                    continue
                self._frames.dropped = dropped
            self._outbox.append(message)
            if len(self._outbox) > _MOST_WAITING:
                self._fail("the bot does not read")
            if len(self._outbox) == 1 and self._spawn is not None:
                self._spawn(self._write)

    @contextmanager
    def reading(
        self, on_pcm: Callable[[bytes], object], on_text: Callable[[str], object], unsent: int
    ) -> Iterator[None]:
        """For the time of a block, :meth:`poll` hands on what the bot sends.

        Args:
            on_pcm: takes binary messages.
            on_text: takes text messages.
            unsent: bytes that may wait in the kernel for a bot that does not read.
        """
        self._on_pcm, self._on_text = on_pcm, on_text
        self._frames.keep_queue_short(unsent)
        with self._frames.polled(on_pcm, on_text):
            yield

    def hand_to(self, on_message: Callable[[BotMessage], object]) -> None:
        """Have :meth:`run` hand on what the bot sends, as long as nothing is :meth:`reading`."""
        self._on_pcm = self._on_text = on_message

    async def run(self) -> None:
        """Write what waits, see whether the bot is still there, and wait until it closes.

        Raises:
            LinkFailed: the WebSocket broke, or the bot does not answer.
        """
        async with trio.open_nursery() as nursery:
            self._running = nursery.cancel_scope
            self._spawn = nursery.start_soon
            nursery.start_soon(self._watch)
            if self._outbox:
                nursery.start_soon(self._write)
            try:
                while True:  # What the fast path leaves: fragmented messages.
                    message = await self._connection.get_message()
                    if isinstance(message, str):
                        self._on_text(message)
                    else:
                        self._on_pcm(message)
            except ConnectionClosed:
                pass
            finally:
                self._spawn = None
            nursery.cancel_scope.cancel()
        closed = self._connection.closed
        if self.failure is None and closed is not None and closed.code not in _NORMAL:
            reason = "" if closed.code == _LOST else f" with {closed.code} {closed.reason or ''}"
            self.failure = LinkFailed(f"the WebSocket closed{reason}".rstrip())
        if self.failure is not None:
            raise self.failure

    async def _write(self) -> None:
        """Send what waits, as the bot takes it."""
        with suppress(ConnectionClosed):
            while self._outbox:
                await self._connection.send_message(self._outbox[0])
                self._outbox.popleft()

    async def _watch(self) -> None:
        """Ask the bot regularly whether it is still there (RFC 6455 5.5.2)."""
        with suppress(ConnectionClosed):
            while True:
                await trio.sleep(_PING_SECONDS)
                with trio.move_on_after(_PONG_SECONDS) as waiting:
                    await self._connection.ping()
                if waiting.cancelled_caught:
                    self._fail(f"the bot did not answer a ping within {_PONG_SECONDS:g} s")

    def _fail(self, reason: str) -> None:
        if self.failure is None:
            self.failure = LinkFailed(reason)
        self._running.cancel()

    async def close(self) -> None:
        """Send what waits, and close; at most a second."""
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            with suppress(ConnectionClosed):
                while self._outbox and self.failure is None:
                    await self._connection.send_message(self._outbox.popleft())
            await self._connection.aclose()


@asynccontextmanager
async def open_link(
    target: WebSocketUrl, subprotocol: str | None, access: Access
) -> AsyncIterator[BotLink]:
    """Open a WebSocket for a block; on exit it closes cleanly, or after a short timeout.

    Args:
        target: where to connect.
        subprotocol: the one to ask for.
        access: what the server is shown, and what TLS trusts.

    Raises:
        LinkFailed: it cannot be opened.
    """
    opened = False
    deadline = trio.current_time() + _CONNECT_SECONDS
    # The reading task is shielded, so that the closing handshake can complete.
    shelter = trio.CancelScope(shield=True)
    try:
        async with open_scope() as nursery:
            try:
                with trio.fail_at(deadline):
                    fields = await access.fields(target)
                    readers = await nursery.start(_shelter, shelter)
                    frames = await _dial(target, access)
                # trio-websocket does not close the stream if the peer aborted the connection.
                async with frames:
                    with trio.fail_at(deadline):
                        connection = await wrap_client_stream(
                            readers,
                            frames,  # type: ignore[arg-type]  # it has the methods of a trio.abc.Stream
                            host_port((target.host, target.port)),
                            target.resource,
                            subprotocols=() if subprotocol is None else (subprotocol,),
                            extra_headers=fields,
                            max_message_size=LARGEST_MESSAGE,
                        )
                    opened = True
                    link = BotLink(connection, frames)
                    try:
                        yield link
                    finally:
                        await link.close()
            finally:
                shelter.cancel()
    except (
        HandshakeError,
        LocalProtocolError,
        OSError,
        UnicodeError,  # The name of a host that cannot be encoded (IDNA).
        trio.TooSlowError,
    ) as error:
        if opened:
            raise
        text, status = _explain(error)
        raise LinkFailed(f"no WebSocket at {target.shown}: {text}", status) from error


async def _dial(target: WebSocketUrl, access: Access) -> FrameStream:
    stream = await trio.open_tcp_stream(target.host, target.port)
    if not target.tls:
        return FrameStream(stream, client=True, largest=LARGEST_MESSAGE)
    tls = await secure(stream, access.tls, target.host)
    return FrameStream(tls, client=True, largest=LARGEST_MESSAGE)


async def _shelter(scope: trio.CancelScope, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """Run a nursery in a scope that another task cancels."""
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await trio.sleep_forever()
    except* ClosingError:
        pass  # trio-websocket answers a ping that came just before our Close, and may not.


def _explain(error: BaseException) -> tuple[str, int]:
    """What to say about a WebSocket that cannot be opened, and the SIP status for the caller."""
    match error:
        case trio.TooSlowError():
            return f"no answer within {_CONNECT_SECONDS:g} s", 504
        case ConnectionRejected(status_code=code):
            return f"the server refuses it with {code}", STATUS.get(code, 503)
        case _:
            return str(error) or type(error).__name__, 503
