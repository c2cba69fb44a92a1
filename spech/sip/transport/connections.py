"""SIP over connections, opened on demand and shared by all messages to one target.

A message is queued at once, in a bounded buffer; the connection's own task opens it, writes the
queue and reads messages. Requests that arrive on a connection are answered on it.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import trio

from spech.addresses import Address
from spech.descriptors import Admission, ConnectionBudget, connection_budget
from spech.errors import RemoteProtocolError
from spech.incidents import Incidents
from spech.shares import source_of
from spech.sip.transaction.flow import DEFAULT_PORTS, Flow, Outgoing, Target
from spech.sip.transport import Pump
from spech.sip.transport.hosts import LocalHosts, family

_log: Final = logging.getLogger(__name__)
#: Connections that we have opened and that are alive at once; one more takes the place of the one
#: that was silent the longest. For those that peers opened see :mod:`spech.descriptors`.
_MOST_OPENED: Final = 1000
#: Bytes that may wait on one connection. A peer that reads none of them is gone.
_MOST_WAITING: Final = 1 << 18
#: Seconds between two checks of a connection, at most (RFC 5626 4.4.1 has 95 to 120).
_LOOK_SECONDS: Final = 120.0
#: Seconds of silence after which a connection is closed on which nothing depends. RFC 3261 18
#: wants at least 64*T1.
_IDLE_SECONDS: Final = 90.0


class Link(Protocol):
    """An open connection that carries whole messages."""

    @property
    def names(self) -> frozenset[str]:
        """The names in the certificate of the other end, in lower case; empty without one."""

    async def send(self, data: bytes) -> None:
        """Send one message."""

    async def receive_messages(self) -> list[bytes] | None:
        """The next messages, maybe none yet; None at the end."""

    async def check(self) -> None:
        """Ping. Raises ``trio.TooSlowError`` when the other end is gone."""


#: Connects to the flow's remote address; leaving the block closes.
LinkOpener = Callable[[Flow], AbstractAsyncContextManager[Link]]
#: Makes a link of an accepted stream.
Acceptor = Callable[[trio.SocketStream], AbstractAsyncContextManager[Link]]


@dataclass(frozen=True, slots=True)
class Door:
    """A listener for one transport."""

    transport: str
    listener: trio.SocketListener
    address: Address
    accept: Acceptor


_EXPECTED: Final = (
    OSError,
    ssl.SSLError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    RemoteProtocolError,
)


class Connection:
    """One connection, from the first message that wants it to its end.

    ``admission`` counts it in the budget; it is None where we have opened the connection.
    """

    def __init__(
        self,
        flow: Flow,
        opened: AbstractAsyncContextManager[Link],
        admission: Admission | None = None,
    ) -> None:
        self.flow = flow
        self.admission = admission
        #: When a message last went through, on trio's clock.
        self.used_at = trio.current_time()
        self._opened = opened
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._work = trio.Event()
        self._scope = trio.CancelScope()
        #: The names that the other end has proven to have.
        self.names: frozenset[str] = frozenset()
        #: Whether it was offered for other flows (RFC 5923), and the other flows that it carries.
        self.offered = False
        self.shared: set[Flow] = set()

    @property
    def pending(self) -> bool:
        """Whether something still waits to be written."""
        return self._waiting > 0

    @property
    def closing(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._scope.cancel_called

    def needed(self, in_use: Set[Flow]) -> bool:
        """Whether it carries one of the flows that a call or a registration depends on."""
        return self.flow in in_use or not self.shared.isdisjoint(in_use)

    def send(self, data: bytes) -> bool:
        """Queue a message. False when too much waits already; the connection then ends."""
        if self._waiting + len(data) > _MOST_WAITING:
            self.close()
            return False
        self._queue.append(data)
        self._waiting += len(data)
        self._work.set()
        return True

    def trust(self) -> None:
        """Count it no longer against its source: a call or a registration depends on it."""
        if self.admission is not None:
            self.admission.trust()

    def close(self) -> None:
        """End it soon. It no longer counts in the budget."""
        self._scope.cancel()
        if self.admission is not None:
            self.admission.release()

    async def run(self, pump: Pump, rng: random.Random) -> str:
        """Open it and carry messages until it ends. Returns why it ended, in words."""
        reasons: list[str] = []
        try:
            with self._scope:
                async with self._opened as link, trio.open_nursery() as nursery:
                    self.names = link.names
                    nursery.start_soon(self._write, link, pump)
                    nursery.start_soon(self._watch, link, pump, rng)
                    while (messages := await link.receive_messages()) is not None:
                        if messages:
                            self.used_at = trio.current_time()
                            pump.receive_arrivals([(data, self.flow) for data in messages])
                    nursery.cancel_scope.cancel()
                    reasons.append("closed by the other end")
        except* _EXPECTED as group:
            reasons.append(_in_words(group))
        except* Exception as group:
            # A mistake of ours must not end the pump, which carries every call's farewell.
            _log.exception("the connection to %s failed", self.flow, exc_info=group)
        return reasons[-1] if reasons else "closed"

    async def _write(self, link: Link, pump: Pump) -> None:
        while True:
            while self._queue:
                data = self._queue.popleft()
                await link.send(data)
                self.used_at = trio.current_time()
                self._waiting -= len(data)
            pump.sent()
            self._work = trio.Event()
            await self._work.wait()

    async def _watch(self, link: Link, pump: Pump, rng: random.Random) -> None:
        while True:
            await trio.sleep(rng.uniform(0.8, 1.0) * _LOOK_SECONDS)
            if self.needed(pump.flows_in_use()):
                await link.check()
            elif trio.current_time() - self.used_at > _IDLE_SECONDS:
                self.close()


class ConnectionTransport:
    """All connections of one endpoint.

    Args:
        doors: where connections are accepted, one for each transport and family at the most.
        addresses: our own addresses, one for each family; the port stands for transports that
            come in nowhere.
        openers: how to connect, by the name of the transport.
        rng: spreads the keepalives.
        budget: limits incoming connections; by default that of the process.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        addresses: Sequence[Address],
        openers: Mapping[str, LinkOpener],
        rng: random.Random,
        budget: ConnectionBudget | None = None,
    ) -> None:
        self._doors = doors
        self._budget = budget or connection_budget("sip")
        #: Connections that were refused because the budget was used up.
        self.refused = Incidents(_log)
        self._ports = {(door.transport, family(door.address[0])): door.address[1] for door in doors}
        self._hosts = {family(host): (LocalHosts(host), port) for host, port in addresses}
        self._openers = openers
        self._rng = rng
        self._connections: dict[Flow, Connection] = {}
        #: Accepted connections that may serve in place of one that we would have to open.
        self._offered: dict[tuple[str, Address], Connection] = {}
        self._new, self._to_run = trio.open_memory_channel[Connection](float("inf"))

    def reaches(self, target: Target) -> bool:
        """The transports that it has openers for."""
        return target.transport in self._openers and family(target.address[0]) in self._hosts

    def flow_to(self, target: Target) -> Flow:
        """The flow to ``target``; nothing is opened before something is sent."""
        host = "" if target.transport == "tcp" else target.host
        local = self._local(target.transport, target.address)
        return Flow(target.transport, local, target.address, host)

    def _local(self, transport: str, remote: Address) -> Address:
        kind = family(remote[0])
        hosts, port = self._hosts[kind]
        return hosts.towards(remote[0]), self._ports.get((transport, kind), port)

    def send(self, outgoing: Outgoing) -> bool:
        """Queue on the flow's connection, opening one where there is none."""
        connection = self._connections.get(outgoing.flow) or self._shared(outgoing.flow)
        if connection is None:
            flow = outgoing.flow
            connection = Connection(flow, self._openers[flow.transport](flow))
            self._connections[flow] = connection
            self._new.send_nowait(connection)
        return connection.send(outgoing.data)

    def share(self, flow: Flow, port: int | None) -> None:
        """See :class:`~spech.sip.transport.Transport`.

        One connection offers one port of its own host, and none takes it from another that lives.
        """
        connection = self._connections.get(flow)
        if connection is not None and not connection.offered:
            connection.offered = True
            address = (flow.remote[0], port or DEFAULT_PORTS[flow.transport])
            self._offered.setdefault((flow.transport, address), connection)

    def _shared(self, flow: Flow) -> Connection | None:
        connection = self._offered.get((flow.transport, flow.remote))
        # Over TLS it has to be who we would have asked for (RFC 5923 9.2, RFC 5922 7).
        if connection is None or not (
            flow.transport == "tcp" or flow.host.lower() in connection.names
        ):
            return None
        connection.shared.add(flow)
        return connection

    @property
    def pending(self) -> bool:
        """Whether something still waits to be written."""
        return any(connection.pending for connection in self._connections.values())

    @property
    def open_flows(self) -> Set[Flow]:
        """See :class:`~spech.sip.transport.Transport`."""
        return self._connections.keys()

    def moved(self, flow: Flow) -> bool:
        """See :class:`~spech.sip.transport.Transport`."""
        hosts, _ = self._hosts[family(flow.remote[0])]
        return hosts.changed(flow.remote[0], flow.local[0])

    def keep_alive(self, flow: Flow) -> None:
        """Connections do so by themselves, at longer intervals than UDP needs."""

    async def run(self, pump: Pump) -> None:
        """Accept and run connections until cancelled."""
        async with trio.open_nursery() as nursery:
            for door in self._doors:
                accept = partial(self._accepted, pump, door)
                nursery.start_soon(
                    partial(trio.serve_listeners, accept, [door.listener], handler_nursery=nursery)
                )
            async for connection in self._to_run:
                opened = [one for one in self._connections.values() if not one.admission]
                if len(opened) > _MOST_OPENED:
                    self._close_idlest(pump, opened)
                nursery.start_soon(self._carry, connection, pump)

    async def _accepted(self, pump: Pump, door: Door, stream: trio.SocketStream) -> None:
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:
            await trio.aclose_forcefully(stream)  # Gone again.
            return
        admission = self._admit(host, pump)
        if admission is None:
            self.refused.note(host, "refused a connection from %s: too many are open", host)
            await trio.aclose_forcefully(stream)
            return
        name = "" if door.transport == "tcp" else host
        flow = Flow(door.transport, self._local(door.transport, (host, port)), (host, port), name)
        connection = Connection(flow, door.accept(stream), admission)
        self._connections[flow] = connection
        with admission:
            await self._carry(connection, pump)

    def _admit(self, host: str, pump: Pump) -> Admission | None:
        """Admit a connection from ``host``; where the budget is full, close an idle one first."""
        if not self._budget.room_for(host):
            in_use = pump.flows_in_use()
            source = source_of(host)
            for one in self._connections.values():
                if source_of(one.flow.remote[0]) == source and one.needed(in_use):
                    one.trust()
        if self._budget.full and self._budget.room_for(host):
            self._close_idlest(pump, [one for one in self._connections.values() if one.admission])
        return self._budget.admit(host)

    async def _carry(self, connection: Connection, pump: Pump) -> None:
        try:
            reason = await connection.run(pump, self._rng)
        finally:
            if self._connections.get(connection.flow) is connection:
                del self._connections[connection.flow]
            self._offered = {
                key: one for key, one in self._offered.items() if one is not connection
            }
        _log.info("the connection to %s ended: %s", connection.flow, reason)
        for flow in (connection.flow, *connection.shared):
            pump.broken(flow, reason)
        pump.sent()

    def _close_idlest(self, pump: Pump, candidates: Iterable[Connection]) -> None:
        """Close the candidate that was silent the longest and that nothing depends on."""
        in_use = pump.flows_in_use()
        idle = [one for one in candidates if not (one.closing or one.pending or one.needed(in_use))]
        if idle:
            min(idle, key=lambda one: one.used_at).close()


def _in_words(error: BaseException) -> str:
    """The innermost cause as text for people."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or "broken"
