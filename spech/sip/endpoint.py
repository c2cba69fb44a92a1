"""The pump: sockets and a clock around the pure user agent.

Transactions live as long as the endpoint, not as long as a call: the farewell of a cancelled call
is still retransmitted after the call's own tasks have ended. So the pump is shielded. It ends when
every peer has confirmed, or when the time of the drain is over.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence, Set
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from spech.addresses import Address
from spech.errors import ServerUnreachable
from spech.incidents import Incidents
from spech.scopes import open_scope
from spech.sip.agent import ConnectionOffered, Malformed, Screen, UserAgent
from spech.sip.dialog.dialog import Dialog, HostNamed
from spech.sip.dialog.event import Event
from spech.sip.message.uri import Uri
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Flow, Outgoing, Target
from spech.sip.transport import Arrival, Transport
from spech.sip.transport.connections import ConnectionTransport, Door, LinkOpener
from spech.sip.transport.stream import accept_tcp, open_tcp
from spech.sip.transport.stream import listen as listen_tcp
from spech.sip.transport.tls import TlsAcceptor, TlsConnector, TlsSettings
from spech.sip.transport.udp import UdpTransport
from spech.sip.transport.websocket import WebSocketConnector

_log: Final = logging.getLogger(__name__)
#: Where an error has no peer that caused it.
_OURSELVES: Final = "127.0.0.1"
#: Seconds between keepalives on UDP: routers forget a binding after 30 (RFC 5626 4.4.2).
_KEEPALIVE_SECONDS: Final = 25.0
#: Dialogs whose next hop waits to be looked up, and how many are looked up at once.
_WAITING_LOOK_UPS: Final = 200
_LOOK_UPS: Final = 4
#: Free ports that are looked at until one is free for both UDP and TCP.
_PORT_TRIES: Final = 20


class Endpoint:
    """A user agent and the transports of its messages, kept running by :func:`open_endpoint`.

    Commands to the user agent are given in the block of :meth:`command`. It is synchronous, so
    cleanup code may use it.
    """

    def __init__(
        self,
        agent: UserAgent,
        address: Address,
        transports: Sequence[Transport],
        resolver: Resolver,
        secure_address: Address | None = None,
    ) -> None:
        self.agent = agent
        #: The (host, port) that it listens on for UDP and TCP; the host may be the wildcard.
        self.address = address
        #: The (host, port) that it listens on for TLS, or None.
        self.secure_address = secure_address
        self._transports = transports
        self._resolver = resolver
        self._timer = trio.CancelScope()
        self._idle = trio.Event()
        self._draining = False
        #: Sources of malformed messages, and of those that we failed to handle: logged once.
        self._malformed = Incidents(_log)
        self._errors = Incidents(_log)
        self._unsent = Incidents(_log)
        self._kept: set[Flow] = set()
        self._to_look_up, self._look_ups = trio.open_memory_channel[Callable[[], Awaitable[None]]](
            _WAITING_LOOK_UPS
        )
        #: Called with each event, in order.
        self.on_event: Callable[[Event], None] = lambda event: None
        #: Called when a connection broke or could not be made, with the cause in words.
        self.on_broken: Callable[[Flow, str], None] = lambda flow, reason: None

    def now(self) -> float:
        """The clock of this endpoint, in seconds."""
        return trio.current_time()

    @contextmanager
    def command(self) -> Iterator[tuple[UserAgent, float]]:
        """Hand over the user agent and the time; what the block causes is sent on leaving it.

            with endpoint.command() as (agent, now):
                session.hang_up(now)

        The block must not await: ``now`` is the time at which it starts. On exit, also after an
        exception, :meth:`flush` runs.
        """
        try:
            yield self.agent, self.now()
        finally:
            self.flush()

    async def flows_to(self, uri: Uri, transport: str | None = None) -> list[Flow]:
        """The flows for requests to ``uri``, best first.

        Args:
            uri: the head of the route, or the Request-URI.
            transport: the one to use where the URI names none.

        Raises:
            ServerUnreachable: the host is unknown, or has no address that we can send to.
        """
        flows = []
        for target in await self._resolver.resolve(uri, transport):
            carrier = self._carrier(target)
            if carrier is not None:
                flows.append(carrier.flow_to(target))
        if not flows:
            raise ServerUnreachable(f"There is no way from here to {uri.host}.")
        return flows

    def _carrier(self, target: Target) -> Transport | None:
        return next((one for one in self._transports if one.reaches(target)), None)

    def _send(self, outgoing: Outgoing) -> bool:
        flow = outgoing.flow
        carrier = self._carrier(flow.target)
        return carrier is not None and carrier.send(outgoing)

    def moved(self, flow: Flow) -> bool:
        """Whether this machine is on another network than when ``flow`` was found."""
        carrier = self._carrier(flow.target)
        return carrier is not None and carrier.moved(flow)

    def present(self, flow: Flow) -> Flow:
        """The same flow from our current address."""
        carrier = self._carrier(flow.target)
        return flow if carrier is None else carrier.flow_to(flow.target)

    def keep(self, flow: Flow) -> None:
        """Keep ``flow`` alive, because a peer has to reach us by it."""
        self._kept.add(flow)

    def release(self, flow: Flow) -> None:
        """Stop keeping ``flow`` alive."""
        self._kept.discard(flow)

    def flush(self) -> None:
        """Send what waits, hand out events and set the timer. Does not block and does not raise.

        :meth:`command` calls it; a handler of events need not, because it runs within it.
        """
        agent = self.agent
        while True:
            for outgoing in agent.to_send(self.now()):
                if not self._send(outgoing):
                    self._unsent.note(outgoing.flow.remote[0], "cannot send to %s", outgoing.flow)
                    agent.send_failed(outgoing, self.now())
            event = agent.next_event()
            if event is None:
                break
            self._hand_out(event)
        deadline = agent.get_timer()
        self._timer.deadline = math.inf if deadline is None else deadline
        self.sent()

    # ------------------------------------------------------------------ what the transports tell

    def receive_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Handle messages that a transport has received."""
        for data, flow in arrivals:
            with self._guard(flow.remote[0], "a message from %s", flow):
                self.agent.receive_message(data, flow, self.now())
        self.flush()

    def broken(self, flow: Flow, reason: str) -> None:
        """A connection ended or could not be made (RFC 3261 18.4)."""
        with self._guard(flow.remote[0], "the end of the connection to %s", flow):
            self.on_broken(flow, reason)
            self.agent.transport_failed(flow, self.now())
        self.flush()

    def refused(self, quoted: bytes, remote: Address) -> None:
        """ICMP says that no port is open at ``remote``."""
        with self._guard(remote[0], "an ICMP error about %s", remote):
            self.agent.layer.receive_refusal(quoted, remote, self.now())
        self.flush()

    def sent(self) -> None:
        """A queue was written. If this was the last one, the drain is over."""
        if self._draining and self.agent.idle and not any(one.pending for one in self._transports):
            self._idle.set()

    def is_known(self, host: str) -> bool:
        """Whether this numeric address is that of a known peer. See ``UserAgent.is_known``."""
        return self.agent.is_known(host)

    def shed(self, count: int) -> None:
        """Messages of strangers were dropped unread."""
        self.agent.dropped["overload"] += count

    def flows_in_use(self) -> Set[Flow]:
        """The flows that a call or a registration depends on."""
        dialogs = (session.dialog for session in self.agent.sessions)
        return self._kept | {dialog.flow for dialog in dialogs if dialog is not None}

    # ------------------------------------------------------------------ the pump

    def _hand_out(self, event: Event) -> None:
        if isinstance(event, Malformed):
            flow = event.flow
            self._malformed.note(flow.remote[0], "dropped a message from %s: %s", flow, event.cause)
            return
        if isinstance(event, ConnectionOffered):
            for transport in self._transports:
                transport.share(event.flow, event.port)
            return
        if isinstance(event, HostNamed):
            self._look_up(partial(self._locate_dialog, event.dialog))
            return
        with self._guard(_OURSELVES, "the event %r", event):
            self.on_event(event)

    @contextmanager
    def _guard(self, host: str, what: str, *arguments: object) -> Iterator[None]:
        """Nothing that ``host`` sends may end the pump, which carries every call's farewell.

        An exception in the block is a mistake of ours. It is counted, and logged once a source.
        """
        try:
            yield
        except Exception:
            self.agent.dropped["error"] += 1
            self._errors.note(host, f"cannot handle {what}", *arguments, traceback=True)

    async def drained(self) -> None:
        """Wait until nothing is left to send, and no answer is expected."""
        self._draining = True
        self.flush()
        await self._idle.wait()

    async def run(self) -> None:
        """Carry messages, serve timers and keep flows alive until cancelled."""
        async with trio.open_nursery() as nursery:
            for transport in self._transports:
                nursery.start_soon(transport.run, self)
            for _ in range(_LOOK_UPS):
                nursery.start_soon(self._serve_look_ups)
            nursery.start_soon(self._keep_time)
            nursery.start_soon(self._keep_alive)

    def find_address(self, host: str, done: Callable[[str], None]) -> None:
        """Look up the name ``host``, as session descriptions may hold one (RFC 8866 5.7).

        ``done`` is called with the first address, later; never where there is none.
        """

        async def find() -> None:
            with suppress(ServerUnreachable):
                # With a port of its own a name has no SRV records (RFC 3263 4.2).
                found = await self._resolver.resolve(Uri("sip", None, host, 5060), "udp")
                done(found[0].address[0])

        self._look_up(find)

    def _look_up(self, task: Callable[[], Awaitable[None]]) -> None:
        with suppress(trio.WouldBlock):  # Many wait. What is known without DNS has to serve.
            self._to_look_up.send_nowait(task)

    async def _serve_look_ups(self) -> None:
        async for task in self._look_ups:
            with self._guard(_OURSELVES, "a look-up"):
                await task()

    async def _locate_dialog(self, dialog: Dialog) -> None:
        """Find the next hop of a dialog while it lives, so that its farewell needs no DNS."""
        hop = dialog.next_hop
        with suppress(ServerUnreachable):
            dialog.locate(hop, await self.flows_to(hop, dialog.set_up[0].transport))

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(_KEEPALIVE_SECONDS)
            for flow in self._kept:
                carrier = self._carrier(flow.target)
                if carrier is not None:
                    carrier.keep_alive(flow)

    async def _keep_time(self) -> None:
        while True:
            self._timer = trio.CancelScope()
            self.flush()
            with self._timer:
                await trio.sleep_forever()
            # Never early: the deadline has passed on the very clock that `now` reads.
            with self._guard(_OURSELVES, "a timer"):
                self.agent.handle_timer(self.now())


@asynccontextmanager
async def open_endpoint(
    listen: Address = ("0.0.0.0", 0),
    *,
    drain: float = 5.0,
    screen: Screen | None = None,
    rng: random.Random | None = None,
    tls: TlsSettings | None = None,
    websocket_path: str = "/ws",
    resolver: Resolver | None = None,
) -> AsyncIterator[Endpoint]:
    """Run a user agent that listens for UDP and TCP on ``listen``, and for TLS where it can.

    The host ``::`` means every address of this machine, ``0.0.0.0`` every IPv4 address.

    Leaving the block, also by cancellation, gives every call its farewell, removes every
    registration, and waits up to ``drain`` seconds until the other ends have confirmed. What is
    abandoned then is logged by Call-ID.

    ``websocket_path`` is for the connections that we make, ``resolver`` finds the servers that they
    lead to, ``tls`` is for both ways: connections over TLS are taken where it has a certificate.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
        LocalProtocolError: the files of ``tls`` cannot be used.
    """
    rng = rng or random.SystemRandom()
    agent = UserAgent(rng, screen=screen)
    tls = tls or TlsSettings()
    acceptor = None if tls.certificate_file is None else TlsAcceptor(tls)
    with _sockets(listen, acceptor) as sockets:
        secure = TlsConnector(tls)
        web = WebSocketConnector(websocket_path, secure)
        openers: dict[str, LinkOpener] = {
            "tcp": open_tcp,
            "tls": secure.open_link,
            "ws": web.open_plain,
            "wss": web.open_secure,
        }
        connections = ConnectionTransport(sockets.doors, sockets.addresses, openers, rng)
        address = sockets.addresses[0]
        secure_addresses = [door.address for door in sockets.doors if door.transport == "tls"]
        endpoint = Endpoint(
            agent,
            address,
            [*sockets.datagrams, connections],
            resolver or Resolver(rng),
            secure_addresses[0] if secure_addresses else None,
        )
        pump = trio.CancelScope(shield=True)

        async def run() -> None:
            with pump:
                await endpoint.run()

        async with open_scope() as nursery:
            nursery.start_soon(run)
            try:
                yield endpoint
            finally:
                try:
                    agent.close(endpoint.now(), drain)
                    with trio.move_on_after(drain, shield=True) as patience:
                        await endpoint.drained()
                    if patience.cancelled_caught:
                        what = ", ".join(agent.unconfirmed)
                        _log.warning("not confirmed after %g s, abandoned: %s", drain, what)
                finally:
                    pump.cancel()  # It is shielded, so nothing else cancels it.


@dataclass(frozen=True, slots=True)
class _Sockets:
    datagrams: list[UdpTransport]
    doors: list[Door]
    addresses: list[Address]


@contextmanager
def _sockets(listen: Address, secure: TlsAcceptor | None) -> Iterator[_Sockets]:
    """UDP and TCP on one port, TLS on another, for each family that ``listen`` stands for."""
    host, port = listen
    # "::" stands for this machine, whatever the family.
    families = [host, "0.0.0.0"] if host == "::" else [host]
    for tries_left in reversed(range(1 if port else _PORT_TRIES)):
        with ExitStack() as undo:
            sockets = _Sockets([], [], [])
            chosen = port
            try:
                for one in families:
                    transport = undo.enter_context(UdpTransport((one, chosen)))
                    chosen = transport.address[1]
                    sockets.datagrams.append(transport)
                    sockets.addresses.append(transport.address)
                    listener = undo.enter_context(listen_tcp(transport.address))
                    sockets.doors.append(Door("tcp", listener, transport.address, accept_tcp))
                    if secure is not None:
                        at = (one, port + 1 if port else 0)
                        listener = undo.enter_context(listen_tcp(at))
                        at = listener.socket.getsockname()[:2]
                        sockets.doors.append(Door("tls", listener, at, secure.accept))
            except ServerUnreachable:
                if tries_left:
                    continue  # The port is in use for another transport or family.
                raise
            yield sockets
            return
