"""TLS for sound: connections that a media clock's tick can read and write without waiting.

Trio's own ``SSLStream`` always goes through the event loop. Here OpenSSL works on the socket
itself, which never blocks.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import trio

#: TLS has nothing to read now, or cannot write now.
NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
#: Bytes that are read at once.
_CHUNK: Final = 65536

_Result = TypeVar("_Result")


class SecureStream(trio.abc.Stream):
    """A TLS connection, made by :func:`secure`.

    Attributes:
        socket: what to read and write without waiting. It raises one of ``NOT_NOW`` instead.
    """

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self.socket = tls

    def receive_now(self, size: int) -> bytes:
        """Up to ``size`` bytes that have arrived; b"" at the end.

        Raises:
            OSError: nothing has arrived (one of ``NOT_NOW``), or the connection broke.
        """
        data = self.socket.recv(size)
        # Each call returns one record at most, and a peer may send each frame in one of its own.
        with suppress(OSError):
            while data and len(data) < size and (more := self.socket.recv(size - len(data))):
                data += more
        return data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Wait for bytes; b"" at the end of the stream. See :class:`trio.abc.ReceiveStream`."""
        try:
            return await self._when_possible(lambda: self.socket.recv(max_bytes or _CHUNK))
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See :class:`trio.abc.SendStream`."""
        rest = memoryview(bytes(data))
        try:
            while rest:
                rest = rest[await self._when_possible(partial(self.socket.send, rest)) :]
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        """See :class:`trio.abc.SendStream`."""
        await trio.lowlevel.wait_writable(self.socket)

    async def shake_hands(self) -> None:
        """Agree on keys, and check the certificates.

        Raises:
            OSError: the handshake failed.
        """
        await self._when_possible(self.socket.do_handshake)

    def close(self) -> None:
        """Close the connection at once. Tasks that use it get :class:`trio.ClosedResourceError`."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
        # As a browser does, without waiting for the other end's TLS goodbye.
        self.socket.close()

    async def aclose(self) -> None:
        """Close the connection, as `close`."""
        self.close()
        await trio.lowlevel.checkpoint()

    async def _when_possible(self, step: Callable[[], _Result]) -> _Result:
        await trio.lowlevel.checkpoint()
        while self.socket.fileno() >= 0:
            try:
                return step()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(self.socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self.socket)
        raise trio.ClosedResourceError


async def secure(
    stream: trio.SocketStream, context: ssl.SSLContext, host: str | None = None
) -> SecureStream:
    """TLS over a TCP stream, which belongs to the result from now on.

    Args:
        stream: the TCP stream; nothing has been sent.
        context: what to trust, or with which certificate to serve.
        host: the name that the server's certificate is checked against; None if we are the server.

    Raises:
        OSError: the handshake failed.
    """
    plain = socket.socket(fileno=stream.socket.detach())
    try:
        plain.setblocking(False)
        connection = SecureStream(
            context.wrap_socket(
                plain,
                server_side=host is None,
                server_hostname=host,
                do_handshake_on_connect=False,
            )
        )
    except BaseException:
        plain.close()
        raise
    try:
        await connection.shake_hands()
    except BaseException:
        connection.close()
        raise
    return connection
