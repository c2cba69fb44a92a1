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
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from functools import partial
from typing import Final, Protocol

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
from spech.sip.transport.carriers import Carriers, open_carriers
from spech.sip.transport.tls import TlsSettings

_log: Final = logging.getLogger(__name__)
#: Where an error has no peer that caused it.
_OURSELVES: Final = "127.0.0.1"
#: Seconds between keepalives on UDP: routers forget a binding after 30 (RFC 5626 4.4.2).
_KEEPALIVE_SECONDS: Final = 25.0
#: Dialogs whose next hop waits to be looked up, and how many are looked up at once.
_WAITING_LOOK_UPS: Final = 200
_LOOK_UPS: Final = 4


class Forwarder(Protocol):
    """Other processes that share the transports of an endpoint; see :mod:`spech.front`."""

    def takes(self, data: bytes, flow: Flow, now: float) -> bool:
        """Whether a message is theirs; then they have it now."""

    def broken(self, flow: Flow, reason: str) -> None:
        """See :meth:`Endpoint.broken`."""

    def refused(self, quoted: bytes, remote: Address) -> None:
        """See :meth:`Endpoint.refused`."""

    def is_known(self, host: str) -> bool:
        """Whether one of them has a call with this numeric address that is up."""

    @property
    def flows_in_use(self) -> Set[Flow]:
        """The flows that a call of theirs depends on."""


class Endpoint:
    """A user agent and the transports of its messages, kept running by :func:`open_endpoint`.

    Commands to the user agent are given in the block of :meth:`command`. It is synchronous, so
    cleanup code may use it.
    """

    #: The clock of an endpoint, in seconds.
    now = staticmethod(trio.current_time)

    def __init__(
        self,
        agent: UserAgent,
        carriers: Carriers,
        resolver: Resolver,
    ) -> None:
        self.agent = agent
        #: Where it listens.
        self.carriers = carriers
        address = carriers.door("udp")
        assert address is not None
        #: The (host, port) that it listens on for UDP and TCP; the host may be the wildcard.
        self.address = address
        #: The (host, port) that it listens on for TLS, or None.
        self.secure_address = carriers.door("tls")
        #: The processes that share its transports, None without any.
        self.forwarder: Forwarder | None = None
        self._transports = carriers.transports
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
        for transport in self._transports:
            if transport.reaches(target):
                return transport
        return None

    def send(self, outgoing: Outgoing) -> bool:
        """Send or queue at once, past the user agent. False when that is not possible."""
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

    def lives(self, flow: Flow) -> bool:
        """Whether the connection of ``flow`` is open."""
        return any(flow in transport.open_flows for transport in self._transports)

    def nearest(self, flows: list[Flow]) -> list[Flow]:
        """``flows`` with a server first that we are registered with: it is known to respond."""
        return sorted(flows, key=lambda flow: flow not in self._kept) if self._kept else flows

    def share(self, flow: Flow, port: int | None) -> None:
        """See :meth:`spech.sip.transport.Transport.share`."""
        for transport in self._transports:
            transport.share(flow, port)

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
            now = self.now()
            for outgoing in agent.to_send(now):
                if not self.send(outgoing):
                    self._unsent.note(outgoing.flow.remote[0], "cannot send to %s", outgoing.flow)
                    agent.send_failed(outgoing, now)
            event = agent.next_event()
            if event is None:
                break
            self._hand_out(event)
        deadline = agent.get_timer()
        if deadline != self._timer.deadline:  # Trio keeps the deadlines sorted.
            self._timer.deadline = math.inf if deadline is None else deadline
        if self._draining:
            self.sent()

    # ------------------------------------------------------------------ what the transports tell

    def receive_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Handle messages that a transport has received."""
        now = self.now()
        forwarder = self.forwarder
        for data, flow in arrivals:
            try:
                if forwarder is None or not forwarder.takes(data, flow, now):
                    self.agent.receive_message(data, flow, now)
            except Exception:
                self._note_fault(flow.remote[0], "a message from %s", flow)
        self.flush()

    def broken(self, flow: Flow, reason: str) -> None:
        """A connection ended or could not be made (RFC 3261 18.4)."""
        try:
            self.on_broken(flow, reason)
            self.agent.transport_failed(flow, self.now())
            if self.forwarder is not None:
                self.forwarder.broken(flow, reason)
        except Exception:
            self._note_fault(flow.remote[0], "the end of the connection to %s", flow)
        self.flush()

    def refused(self, quoted: bytes, remote: Address) -> None:
        """ICMP says that no port is open at ``remote``."""
        try:
            self.agent.layer.receive_refusal(quoted, remote, self.now())
            if self.forwarder is not None:
                self.forwarder.refused(quoted, remote)
        except Exception:
            self._note_fault(remote[0], "an ICMP error about %s", remote)
        self.flush()

    def sent(self) -> None:
        """A queue was written. If this was the last one, the drain is over."""
        if self._draining and self.agent.idle and not any(one.pending for one in self._transports):
            self._idle.set()

    def is_known(self, host: str) -> bool:
        """Whether this numeric address is that of a known peer. See ``UserAgent.is_known``."""
        return self.agent.is_known(host) or (
            self.forwarder is not None and self.forwarder.is_known(host)
        )

    def shed(self, count: int) -> None:
        """Messages of strangers were dropped unread."""
        self.agent.dropped["overload"] += count

    def flows_in_use(self) -> Set[Flow]:
        """The flows that a call or a registration depends on."""
        dialogs = (session.dialog for session in self.agent.sessions)
        flows = self._kept | {dialog.flow for dialog in dialogs if dialog is not None}
        return flows if self.forwarder is None else flows | self.forwarder.flows_in_use

    # ------------------------------------------------------------------ the pump

    def _hand_out(self, event: Event) -> None:
        if isinstance(event, Malformed):
            flow = event.flow
            self._malformed.note(flow.remote[0], "dropped a message from %s: %s", flow, event.cause)
            return
        if isinstance(event, ConnectionOffered):
            self.share(event.flow, event.port)
            return
        if isinstance(event, HostNamed):
            self._look_up(partial(self._locate_dialog, event.dialog))
            return
        try:
            self.on_event(event)
        except Exception:
            self._note_fault(_OURSELVES, "the event %r", event)

    def _note_fault(self, host: str, what: str, *arguments: object) -> None:
        """Count an exception, which is a mistake of ours, and log it once a source.

        Nothing that ``host`` sends may end the pump, which carries every call's farewell.
        """
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
            try:
                await task()
            except Exception:
                self._note_fault(_OURSELVES, "a look-up")

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
            try:
                self.agent.handle_timer(self.now())
            except Exception:
                self._note_fault(_OURSELVES, "a timer")


@asynccontextmanager
async def open_endpoint(
    listen: Address | Carriers = ("0.0.0.0", 0),
    *,
    drain: float = 5.0,
    screen: Screen | None = None,
    rng: random.Random | None = None,
    tls: TlsSettings | None = None,
    websocket_path: str = "/ws",
    resolver: Resolver | None = None,
) -> AsyncIterator[Endpoint]:
    """Run a user agent that listens for UDP and TCP on ``listen``, and for TLS where it can.

    The host ``::`` means every address of this machine, ``0.0.0.0`` every IPv4 address. In place of
    an address, ``listen`` may be transports that are open.

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
    opened: AbstractContextManager[Carriers] = (
        nullcontext(listen)
        if isinstance(listen, Carriers)
        else open_carriers(listen, tls or TlsSettings(), websocket_path, rng)
    )
    with opened as carriers:
        endpoint = Endpoint(agent, carriers, resolver or Resolver(rng))
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
                        # Without a drain, that is what the program has asked for.
                        level = logging.WARNING if drain else logging.INFO
                        _log.log(level, "not confirmed after %g s, abandoned: %s", drain, what)
                finally:
                    pump.cancel()  # It is shielded, so nothing else cancels it.
