"""Hypercorn's Trio worker, one guarded connection at a time.

Hypercorn's own ``serve`` runs all connections in one nursery, where a peer that breaks a rule of
HTTP or WebSocket at the wrong moment ends the server and everybody's connections. Here the same
connections run each behind an edge of its own.
"""

from __future__ import annotations

import socket
from functools import partial

import trio
from hypercorn.config import Config
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

from spech.web.connection_errors import ConnectionErrors, source_of

#: A peer that takes nothing for so long is gone: pings make sure that there is something to take.
PEER_TIMEOUT_MS = 20_000
PING_SECONDS = 10.0


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


async def serve_app(app: ASGIFramework, listener: trio.SocketListener, *, max_message: int) -> None:
    """Serve an ASGI application until cancelled.

    Args:
        app: the application; it gets no lifespan events.
        listener: as `bind` makes it.
        max_message: longest WebSocket message in bytes; a longer one closes its connection.
    """
    config = Config()
    config.errorlog = None  # What goes wrong comes to our own edges.
    config.include_server_header = False
    config.websocket_max_message_size = max_message
    config.websocket_ping_interval = PING_SECONDS
    errors = ConnectionErrors("the web port")
    wrapped = wrap_app(_Edge(app, errors), config.wsgi_max_body_size, "asgi")
    connect = partial(TCPServer, wrapped, config, WorkerContext(None), ConnectionState({}))

    async def serve_stream(stream: trio.SocketStream) -> None:
        source = source_of(stream)
        try:
            await connect(stream)  # type: ignore[arg-type]  # It takes plain TCP as well.
        except* Exception as group:
            errors.note(source, group)

    await trio.serve_listeners(serve_stream, [listener])


class _Edge:
    """An ASGI application at whose edge errors stop, and whose responses are sent to their end.

    Quart cancels a request's tasks in the moment in which Hypercorn has taken the last byte, and
    with them Hypercorn's own work after it: an HTTP/1.1 connection would be neither closed nor
    timed out. (With HTTP/2 that work may wait for the peer, so there it must be cancelled.)
    """

    def __init__(self, app: ASGIFramework, errors: ConnectionErrors) -> None:
        self._app = app
        self._errors = errors

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def send_to_the_end(message: ASGISendEvent) -> None:
            with trio.CancelScope(shield=True):
                await send(message)

        client = scope.get("client")
        plain = scope["type"] == "http" and scope["http_version"].startswith("1")
        try:
            await self._app(scope, receive, send_to_the_end if plain else send)
        except* Exception as group:
            source = str(client[0]) if isinstance(client, tuple) else "somebody"
            self._errors.note(source, group)
