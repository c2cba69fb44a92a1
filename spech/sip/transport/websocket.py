"""SIP over WebSocket, as a client: one message to a frame (RFC 7118)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from spech.sip.message.parser import MAX_MESSAGE
from spech.sip.transaction.flow import Flow, host_port
from spech.sip.transport.connections import Link
from spech.sip.transport.stream import CONNECT_SECONDS, PONG_SECONDS, ByteStream, connect
from spech.sip.transport.tls import TlsConnector

_SUBPROTOCOL: Final = "sip"
_CLOSE_SECONDS: Final = 1.0
_NOT_THERE: Final = "its server has no SIP over WebSocket at that path"


class WebSocketLink:
    """Messages in WebSocket frames, with WebSocket's own ping (RFC 7118 6)."""

    #: It is never offered for more than its own flow.
    names: frozenset[str] = frozenset()

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Send a message, as text where it is text: not every server reads binary frames."""
        try:
            frame: str | bytes = data.decode()
        except UnicodeDecodeError:
            frame = data
        try:
            await self._connection.send_message(frame)
        except ConnectionClosed as error:
            raise ConnectionError("closed by the other end") from error

    async def receive_messages(self) -> list[bytes] | None:
        """The next message; None at the end."""
        try:
            frame = await self._connection.get_message()
        except ConnectionClosed:
            return None
        data = frame.encode() if isinstance(frame, str) else frame
        return [data] if data.strip(b"\r\n\x00") else []

    async def check(self) -> None:
        """Ping.

        Raises:
            trio.TooSlowError: the other end is gone.
        """
        with trio.fail_after(PONG_SECONDS):
            try:
                await self._connection.ping()
            except ConnectionClosed as error:
                raise ConnectionError("closed by the other end") from error


class WebSocketConnector:
    """Connects to ``path`` of the flow's host: in the clear, or by ``tls``."""

    def __init__(self, path: str, tls: TlsConnector) -> None:
        self._path = path
        self._tls = tls

    @asynccontextmanager
    async def open_plain(self, flow: Flow) -> AsyncIterator[Link]:
        """Connect over ``ws``."""
        async with connect(flow) as stream, self._upgraded(stream, flow) as link:
            yield link

    @asynccontextmanager
    async def open_secure(self, flow: Flow) -> AsyncIterator[Link]:
        """Connect over ``wss``."""
        async with self._tls.open_stream(flow) as stream, self._upgraded(stream, flow) as link:
            yield link

    @asynccontextmanager
    async def _upgraded(self, stream: ByteStream, flow: Flow) -> AsyncIterator[Link]:
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(CONNECT_SECONDS):
                    connection = await wrap_client_stream(
                        nursery,
                        stream,
                        host_port((flow.host, flow.remote[1])),
                        self._path,
                        subprotocols=[_SUBPROTOCOL],
                        max_message_size=MAX_MESSAGE,
                    )
                if connection.subprotocol != _SUBPROTOCOL:
                    raise ConnectionError(_NOT_THERE)
                try:
                    yield WebSocketLink(connection)
                finally:
                    with trio.move_on_after(_CLOSE_SECONDS):
                        await connection.aclose()
                    nursery.cancel_scope.cancel()
        except* HandshakeError:
            raise ConnectionError(_NOT_THERE) from None
