"""Runs Hypercorn's Trio connections, each so that its errors end that connection alone.

Hypercorn's own ``serve`` runs all connections in one nursery, where a peer that breaks a rule of
HTTP or WebSocket at the wrong moment ends the server and all connections.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import h11
import trio
from hypercorn.config import Config
from hypercorn.protocol import ws_stream
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    ConnectionState,
    Scope,
)
from hypercorn.utils import wrap_app
from werkzeug.datastructures import Headers
from wsproto.extensions import PerMessageDeflate

from spech.web.certificate import PageCertificate
from spech.web.connection_errors import ConnectionErrors
from spech.web.connections import ClientConnection, Connections

#: A peer that acknowledges nothing for this long is gone. Pings make sure that something is sent.
PEER_TIMEOUT_MS = 20_000
PING_SECONDS = 10.0


class _NoCompression(PerMessageDeflate):
    """Declines permessage-deflate (RFC 7692): 1 MB of it can grow to 1 GB of message."""

    def accept(self, offer: str) -> bool | str | None:
        return None


# Hypercorn offers the extension to all clients, and has no option against it.
ws_stream.PerMessageDeflate = _NoCompression  # type: ignore[attr-defined]


class Upgrade(NamedTuple):
    """A WebSocket that is not the application's: it gets the connection with the request.

    Attributes:
        path: of its requests.
        admits: whether a request with these headers may come in; the application refuses others.
        serve: gets the connection, and the bytes of the request and of what came after it.
    """

    path: str
    admits: Callable[[Headers, ClientConnection], bool]
    serve: Callable[[ClientConnection, bytes], Awaitable[None]]


#: Where an `_LentStream` is in the state that Hypercorn keeps of a connection.
_LENT: Final = "lent"


class _HandedOver(Exception):
    """Ends Hypercorn's part in a connection."""


async def _check_protocol(protocol: H11Protocol, request: h11.Request) -> None:
    """Hand a WebSocket over that is not the application's.

    Do not change to HTTP/2, where one connection has a hundred requests at a time: together they
    would delay the sound.
    """
    lent: _LentStream = protocol.connection_state[_LENT]
    if lent.upgrades(request):
        assert isinstance(protocol.connection, h11.Connection)
        lent.received = _as_received(request) + protocol.connection.trailing_data[0]
        raise _HandedOver


H11Protocol._check_protocol = _check_protocol  # type: ignore[method-assign,assignment]


def _as_received(request: h11.Request) -> bytes:
    """A request without a body, as it came."""
    lines = [request.method + b" " + request.target + b" HTTP/" + request.http_version]
    lines += [name + b": " + value for name, value in request.headers]
    return b"\r\n".join([*lines, b"", b""])


class _LentStream:
    """A connection as Hypercorn sees it. Hypercorn does not close one that was handed over.

    ``received`` is what the one who takes it over has to be given.
    """

    def __init__(self, connection: ClientConnection, upgrade: Upgrade | None) -> None:
        self.received = b""
        self._connection = connection
        self._stream = connection.stream
        self._upgrade = upgrade

    @property
    def socket(self) -> object:
        return self._stream.socket

    def upgrades(self, request: h11.Request) -> bool:
        """Whether a request is to be handed over."""
        upgrade = self._upgrade
        if upgrade is None or request.target != upgrade.path.encode():
            return False
        headers = Headers(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        )
        return headers.get("Upgrade", "").lower() == "websocket" and upgrade.admits(
            headers, self._connection
        )

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def send_eof(self) -> None:
        if not self.received and isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        if not self.received:
            await self._stream.aclose()


async def bind(host: str, port: int) -> trio.SocketListener:
    """Listen on the first address of ``host``; port 0 takes any free one.

    Raises:
        OSError: the port is in use, or ``host`` is no address of this machine.
    """
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise OSError(error.errno, f"{error.strerror}: {host}") from error
    family, kind, protocol, _, address = found[0]
    listening = trio.socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Inherited by accepted connections. Without it a page on a machine that went to
            # sleep would count as present, and its calls would never be given up.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_TIMEOUT_MS)
        await listening.bind(address)
        listening.listen(100)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"{error.strerror}: {host}:{port}") from error
    return trio.SocketListener(listening)


async def serve_app(
    app: ASGIFramework,
    listener: trio.SocketListener,
    connections: Connections,
    max_message: int,
    *,
    upgrade: Upgrade | None = None,
    certificate: PageCertificate | None = None,
) -> None:
    """Serve an ASGI application until cancelled. Then all its connections close at once.

    The application finds its `ClientConnection` in the scope, under ``state`` and ``"connection"``.

    Args:
        app: the application; it gets no lifespan events.
        listener: as `bind` makes it.
        connections: admits the connections.
        max_message: longest WebSocket message in bytes; a longer one closes its connection.
        upgrade: a WebSocket beside the application, on the same port.
        certificate: for TLS, None for plain TCP.
    """
    config = Config()
    config.errorlog = None  # What goes wrong comes to our own edges.
    config.include_server_header = False
    config.websocket_max_message_size = max_message
    config.websocket_ping_interval = PING_SECONDS
    errors = ConnectionErrors("the web port")
    context = WorkerContext(None)

    async def serve_connection(connection: ClientConnection) -> None:
        lent = _LentStream(connection, upgrade)
        edge = wrap_app(_Edge(app, errors, connection), config.wsgi_max_body_size, "asgi")
        state = ConnectionState({"connection": connection, _LENT: lent})
        try:
            # The type says TLS only; plain TCP works as well.
            await TCPServer(edge, config, context, state, lent)  # type: ignore[arg-type]
        except* _HandedOver:
            pass
        if lent.received and upgrade is not None:
            await upgrade.serve(connection, lent.received)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(connections.serve, listener, serve_connection, errors, certificate)
        try:
            await trio.sleep_forever()
        finally:
            # Hypercorn shields its sending, which a peer that does not read would make wait.
            connections.close()


class _Edge:
    """An ASGI application at whose edge errors stop, and whose responses are sent to their end.

    Quart cancels a request's tasks in the moment in which Hypercorn has taken the last byte, and
    with them Hypercorn's own work after it: an HTTP/1.1 connection would be neither closed nor
    timed out.
    """

    def __init__(
        self, app: ASGIFramework, errors: ConnectionErrors, connection: ClientConnection
    ) -> None:
        self._app = app
        self._connection = connection
        self._errors = errors

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def send_to_the_end(message: ASGISendEvent) -> None:
            with trio.CancelScope(shield=True):
                await send(message)

        client = scope.get("client")
        plain = scope["type"] == "http"
        try:
            with self._connection.busy():
                await self._app(scope, receive, send_to_the_end if plain else send)
        except* Exception as group:
            source = str(client[0]) if isinstance(client, tuple) else "an unknown peer"
            self._errors.note(source, group)
