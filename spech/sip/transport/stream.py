"""SIP over TCP and TLS (RFC 3261 18.3 and 26.2.1)."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import trio

from spech.addresses import Address
from spech.errors import ServerUnreachable
from spech.sip.message.framing import StreamFramer
from spech.sip.transaction.flow import Flow, host_port
from spech.sip.transport.connections import Link
from spech.sip.transport.hosts import family

#: Seconds for a connection to be made, and for TLS to be agreed upon.
CONNECT_SECONDS: Final = 5.0
#: Seconds within which a ping is answered (RFC 5626 4.4.1).
PONG_SECONDS: Final = 10.0
_READ: Final = 65_536
_BACKLOG: Final = 128

ByteStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class StreamLink:
    """Messages on a byte stream, with the keepalive of RFC 5626 3.5.1."""

    def __init__(self, stream: ByteStream, names: frozenset[str] = frozenset()) -> None:
        #: The names in the other end's certificate.
        self.names = names
        self._stream = stream
        self._framer = StreamFramer()
        self._sending = trio.Lock()
        self._pings = 0
        self._life = trio.Event()
        #: Whether the peer has ever answered a ping; some peers never do.
        self._answers = False

    async def send(self, data: bytes) -> None:
        """Send bytes; pings, pongs and messages do not get mixed."""
        async with self._sending:
            await self._stream.send_all(data)

    async def receive_messages(self) -> list[bytes] | None:
        """The next messages, maybe none yet; None at the end."""
        data = bytes(await self._stream.receive_some(_READ))
        if not data:
            return None
        if not self._life.is_set():
            self._life.set()
            self._answers = self._answers or data == b"\r\n"
        messages = self._framer.receive_data(data)
        if self._framer.pings != self._pings:
            self._pings = self._framer.pings
            await self.send(b"\r\n")
        return messages

    async def check(self) -> None:
        """Ping. A peer that stopped answering is gone.

        Raises:
            trio.TooSlowError: it is.
        """
        self._life = trio.Event()
        await self.send(b"\r\n\r\n")
        with trio.move_on_after(PONG_SECONDS) as patience:
            await self._life.wait()
        if patience.cancelled_caught and self._answers:
            raise trio.TooSlowError


@contextmanager
def listen(address: Address) -> Iterator[trio.SocketListener]:
    """A TCP listener, bound at once.

    Raises:
        ServerUnreachable: the address cannot be bound.
    """
    with socket.socket(family(address[0]), socket.SOCK_STREAM) as bound:
        try:
            if bound.family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if os.name == "posix":  # On Windows it lets two programs take one port.
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(_BACKLOG)
        except OSError as error:
            raise ServerUnreachable(
                f"Cannot listen on {host_port(address)} for TCP: {error.strerror}."
            ) from error
        listening = trio.socket.from_stdlib_socket(bound)
        with listening:
            yield trio.SocketListener(listening)


@asynccontextmanager
async def accept_tcp(stream: trio.SocketStream) -> AsyncIterator[Link]:
    """A link over an accepted stream."""
    async with stream:
        yield StreamLink(stream)


@asynccontextmanager
async def connect(flow: Flow) -> AsyncIterator[trio.SocketStream]:
    """A TCP connection from our address to the flow's remote one.

    Raises:
        OSError: the connection was refused, or is not possible.
        trio.TooSlowError: no answer came for 5 s.
    """
    with trio.socket.socket(family(flow.remote[0]), socket.SOCK_STREAM) as opened:
        with trio.fail_after(CONNECT_SECONDS):
            await opened.bind((flow.local[0], 0))
            await opened.connect(flow.remote)
        yield trio.SocketStream(opened)


@asynccontextmanager
async def open_tcp(flow: Flow) -> AsyncIterator[Link]:
    """Connect over TCP."""
    async with connect(flow) as stream:
        yield StreamLink(stream)
