"""The TCP connection to a bot that speaks AudioSocket, written without waiting."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

import trio

from spech.bridge.dialects.audiosocket import HEAD_BYTES
from spech.bridge.dialects.base import BotMessage
from spech.bridge.link import LinkFailed
from spech.bridge.url import WebSocketUrl
from spech.scopes import open_scope

_CONNECT_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
#: Seconds after which a bot that takes nothing has failed.
_FROZEN_SECONDS: Final = 15.0
#: Bytes that may wait for such a bot.
_MOST_WAITING: Final = 4000
#: Bytes that are read at once, and messages that are taken from a bot in 20 ms.
_CHUNK: Final = 65536
_MOST_MESSAGES: Final = 64


class AudioSocketLink:
    """An open connection to a bot, with the interface of :class:`~spech.bridge.link.BotLink`.

    Made by :func:`open_audiosocket`. Each message begins with its type and length.

    Attributes:
        used: whether something was sent that had to arrive.
        dropped: messages of sound that the bot did not take.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self.used = False
        self.dropped = 0
        self._stream = stream
        self._descriptor = stream.socket.fileno()
        self._waiting = bytearray()
        self._refused_at: float | None = None
        self._hand_on: Callable[[bytes], object] = lambda message: None

    def poll(self) -> None:
        """Do nothing: :meth:`run` reads as it comes."""

    def send_pcm(self, message: bytes) -> bool:
        """Send a message with sound, or drop it where the bot does not read."""
        written = self._write(message) if self._flush() else 0
        if not written:
            self.dropped += 1
            return False
        self._waiting += message[written:]
        return True

    def send_sound(self, message: BotMessage) -> None:
        """As :meth:`send_pcm`."""
        assert isinstance(message, bytes)
        self.send_pcm(message)

    def send(self, messages: Iterable[BotMessage]) -> None:
        """Send messages that must arrive. They wait where the bot does not read."""
        for message in messages:
            assert isinstance(message, bytes)
            self.used = True
            if len(self._waiting) < _MOST_WAITING:
                self._waiting += message
        self._flush()

    def _flush(self) -> bool:
        """Send what waits. False if something still does."""
        if self._waiting:
            del self._waiting[: self._write(self._waiting)]
        return not self._waiting

    def _write(self, data: bytes | bytearray) -> int:
        try:
            written = os.write(self._descriptor, data)
        except OSError:  # The buffer is full, or the connection broke, which a read tells as well.
            if self._refused_at is None:
                self._refused_at = trio.current_time()
            return 0
        self._refused_at = None
        return written

    @contextmanager
    def reading(
        self, on_pcm: Callable[[bytes], object], on_text: Callable[[str], object], unsent: int
    ) -> Iterator[None]:
        """For the time of a block, hand on what the bot sends; there is no text."""
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)
        before, self._hand_on = self._hand_on, on_pcm
        try:
            yield
        finally:
            self._hand_on = before

    def hand_to(self, on_message: Callable[[BotMessage], object]) -> None:
        """Hand on what the bot sends, as long as nothing is :meth:`reading`."""
        self._hand_on = on_message

    async def run(self) -> None:
        """Read until the bot closes the connection.

        Raises:
            LinkFailed: the connection broke, or the bot takes nothing any more.
        """
        async with open_scope() as nursery:
            nursery.start_soon(self._watch)
            try:
                await self._read()
            except trio.BrokenResourceError as error:
                raise LinkFailed("the connection broke") from error
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        left = bytearray()
        while data := await self._stream.receive_some(_CHUNK):
            left += data
            start = messages = 0
            while len(left) - start >= HEAD_BYTES:
                end = start + HEAD_BYTES + int.from_bytes(left[start + 1 : start + HEAD_BYTES])
                if end > len(left):
                    break
                if messages == _MOST_MESSAGES:
                    messages = 0
                    await trio.sleep(0.02)
                messages += 1
                self._hand_on(bytes(left[start:end]))
                start = end
            del left[:start]

    async def _watch(self) -> None:
        """See whether the bot takes what it is sent."""
        while True:
            await trio.sleep(1)
            refused_at = self._refused_at
            if refused_at is not None and trio.current_time() - refused_at > _FROZEN_SECONDS:
                raise LinkFailed(f"the bot took nothing for {_FROZEN_SECONDS:g} s")

    async def close(self) -> None:
        """Send what waits, and close; at most a second."""
        with (
            trio.move_on_after(_CLOSE_SECONDS, shield=True),
            suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            await self._stream.send_all(self._waiting)


@asynccontextmanager
async def open_audiosocket(target: WebSocketUrl) -> AsyncIterator[AudioSocketLink]:
    """Open a connection to a bot for a block.

    Raises:
        LinkFailed: it cannot be opened.
    """
    try:
        with trio.fail_after(_CONNECT_SECONDS):
            stream = await trio.open_tcp_stream(target.host, target.port)
    except trio.TooSlowError as error:
        raise LinkFailed(f"no answer from {target} within {_CONNECT_SECONDS:g} s", 504) from error
    except (OSError, UnicodeError) as error:  # The latter: a name that cannot be encoded (IDNA).
        raise LinkFailed(f"no connection to {target}: {error}") from error
    async with stream:
        link = AudioSocketLink(stream)
        try:
            yield link
        finally:
            await link.close()
