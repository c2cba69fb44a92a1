"""Messages between the front and a worker, over a pair of connected sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import msgspec
import trio

from spech.errors import RemoteProtocolError
from spech.scopes import open_scope

Received = TypeVar("Received")

#: Bytes that may wait for a process that does not read. One that is behind so far hangs.
_MOST_WAITING: Final = 32 << 20
#: Bytes that wait where a process does not keep up, so that what can be lost is not sent to it.
_MUCH_WAITING: Final = 1 << 20
#: Bytes read at one wake-up.
_MOST_READ: Final = 1 << 18
#: Bytes of the length before each message.
_PREFIX: Final = 4


class Channel(Generic[Received]):
    """One end of the pair. Both ends are programs of ours, so what comes is trusted.

    Args:
        end: a connected stream socket. The channel owns it.
        received: the type of what comes.
    """

    def __init__(self, end: socket.socket, received: Any) -> None:
        end.setblocking(False)
        self._socket = end
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Received] = msgspec.msgpack.Decoder(received)
        self._unread = bytearray()
        self._waiting = bytearray()
        self._work = trio.Event()
        self._broken = False

    @property
    def pending(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._waiting) and not self._broken

    @property
    def behind(self) -> bool:
        """Whether the other end does not keep up."""
        return len(self._waiting) > _MUCH_WAITING

    def send(self, message: msgspec.Struct) -> None:
        """Send or queue a message at once. It is lost where the other end has gone."""
        if self._broken:
            return
        data = self._encoder.encode(message)
        self._waiting += len(data).to_bytes(_PREFIX, "big")
        self._waiting += data
        if len(self._waiting) > _MOST_WAITING:
            self.close()
        elif not self._work.is_set():
            self._write()
            if self._waiting:
                self._work.set()

    def close(self) -> None:
        """End the connection; the other end reads its end."""
        self._broken = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # A task may wait for it, so no more than that.
        self._work.set()

    def _write(self) -> None:
        try:
            del self._waiting[: self._socket.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._broken = True  # The reader notices the end.

    async def run(self, receive: Callable[[Received], None]) -> None:
        """Carry messages until the other end has gone, and close the socket.

        Raises:
            RemoteProtocolError: the other end is another version of the program.
        """
        with self._socket:
            async with open_scope() as nursery:
                nursery.start_soon(self._write_queue)
                while (messages := await self.receive_some()) is not None:
                    for message in messages:
                        receive(message)
                nursery.cancel_scope.cancel()

    async def receive_some(self) -> list[Received] | None:
        """The next messages, maybe none yet; None at the end."""
        await trio.lowlevel.wait_readable(self._socket)
        try:
            data = self._socket.recv(_MOST_READ)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        unread = self._unread
        unread += data
        messages, start = [], 0
        while len(unread) >= start + _PREFIX:
            end = start + _PREFIX + int.from_bytes(unread[start : start + _PREFIX], "big")
            if len(unread) < end:
                break
            try:
                messages.append(self._decoder.decode(unread[start + _PREFIX : end]))
            except msgspec.MsgspecError as error:
                raise RemoteProtocolError(f"front and worker differ: {error}") from error
            start = end
        del unread[:start]
        return messages

    async def _write_queue(self) -> None:
        while not self._broken:
            await self._work.wait()
            while self.pending:
                await trio.lowlevel.wait_writable(self._socket)
                self._write()
            self._work = trio.Event()
