"""The TCP connections to the web port and the audio port: how many there may be, and how long."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from spech.descriptors import Admission, ConnectionBudget, connection_budget
from spech.web.certificate import PageCertificate
from spech.web.connection_errors import ConnectionErrors, source_of
from spech.web.proxies import TrustedProxies
from spech.websocket.tls import SecureStream, secure

#: How long a connection may carry no request, seconds.
IDLE_SECONDS = 10.0


class Connections:
    """All open connections of a web phone.

    A source may have `spech.descriptors.PER_SOURCE` connections that have not shown that they may
    use the phone. Where there are too many connections in all, the oldest of these is closed for
    a new one, so that strangers cannot keep the phone's owner out.
    """

    def __init__(
        self, proxies: TrustedProxies | None = None, budget: ConnectionBudget | None = None
    ) -> None:
        self._proxies = proxies or TrustedProxies()
        self._budget = budget or connection_budget("web")
        self._unproven: dict[ClientConnection, None] = {}
        self._open: dict[ClientConnection, None] = {}
        #: Connections that were refused or closed because there were too many.
        self.refused = 0

    async def serve(
        self,
        listener: trio.SocketListener,
        handle: Callable[[ClientConnection], Awaitable[None]],
        errors: ConnectionErrors,
        certificate: PageCertificate | None = None,
    ) -> None:
        """Serve a port until cancelled. An error ends its connection and no other.

        Args:
            listener: the port.
            handle: serves a connection that was admitted, which is closed after it.
            errors: gets what goes wrong in it, except that connections break.
            certificate: for TLS, None for plain TCP.
        """

        async def serve_stream(stream: trio.SocketStream) -> None:
            source = source_of(stream)
            with self.admitted(stream) as connection:
                if connection is None:
                    return
                try:
                    if certificate is not None:
                        connection.stream = await secure(stream, certificate.context)
                    await handle(connection)
                except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # Clients come and go.
                except* Exception as group:
                    errors.note(source, group)
                finally:
                    await trio.aclose_forcefully(connection.stream)

        await trio.serve_listeners(serve_stream, [listener])

    @contextmanager
    def admitted(self, stream: trio.SocketStream) -> Iterator[ClientConnection | None]:
        """Count a connection while the block runs; None where it must be refused.

        The block is cancelled when the connection is idle for too long or has to make room.
        """
        host = source_of(stream)
        admission = self._budget.admit(host)
        if admission is None and self._budget.full and self._budget.room_for(host):
            oldest = next(iter(self._unproven), None)
            if oldest is not None:
                self._displace(oldest)
                admission = self._budget.admit(host)
        if admission is None:
            self.refused += 1
            yield None
            return
        connection = ClientConnection(self, stream, admission)
        self._open[connection] = self._unproven[connection] = None
        try:
            with admission, connection.scope:
                if host in self._proxies:
                    connection.trust()
                yield connection
        finally:
            self._unproven.pop(connection, None)
            del self._open[connection]

    def close(self) -> None:
        """Close all sockets, which wakes tasks that wait for a peer that does not read."""
        for connection in self._open:
            connection.close()

    def prove(self, connection: ClientConnection) -> None:
        """A peer has shown that it may use the phone: its connection is not displaced."""
        self._unproven.pop(connection, None)

    def _displace(self, connection: ClientConnection) -> None:
        self.refused += 1
        self._unproven.pop(connection)
        connection.displace()


class ClientConnection:
    """One connection that was admitted. ``stream`` becomes a TLS connection where there is TLS."""

    def __init__(
        self, connections: Connections, stream: trio.SocketStream, admission: Admission
    ) -> None:
        self.stream: trio.SocketStream | SecureStream = stream
        self.scope = trio.CancelScope(deadline=trio.current_time() + IDLE_SECONDS)
        self._connections = connections
        self._admission = admission
        self._requests = 0

    def trust(self) -> None:
        """Note that the peer has shown that it may use the phone. Idempotent."""
        self._connections.prove(self)
        self._admission.trust()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A request is under way while the block runs: the connection is not idle."""
        self._requests += 1
        self.scope.deadline = math.inf
        try:
            yield
        finally:
            self._requests -= 1
            if self._requests == 0:
                self.scope.deadline = trio.current_time() + IDLE_SECONDS

    def displace(self) -> None:
        """Make room for another connection."""
        self._admission.release()
        self.scope.cancel()
        self.close()

    def close(self) -> None:
        """Close the socket, which wakes tasks that wait for a peer that does not read."""
        if isinstance(self.stream, SecureStream):
            self.stream.close()
        else:
            self.stream.socket.close()
