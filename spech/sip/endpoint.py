"""The pump: sockets and a clock around the pure user agent.

Transactions live as long as the endpoint, not as long as a call: the farewell of a cancelled call
is still retransmitted after the call's own tasks are gone. So the pump is shielded, and ends only
when everybody has been told, or when the drain's time is over.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from spech.scopes import open_scope
from spech.sip.agent import Screen, UserAgent
from spech.sip.events import Event, Malformed
from spech.sip.flow import Address, Flow
from spech.sip.resolver import resolve
from spech.sip.transport import UdpTransport
from spech.sip.uri import Uri

_log: Final = logging.getLogger("spech.sip")
#: Sources that have been logged are remembered up to this number.
_REMEMBERED_SOURCES: Final = 1000


class Endpoint:
    """One transport and one user agent, kept running by :func:`open_endpoint`.

    After any command to :attr:`agent`, call :meth:`flush`: it sends at once what can be sent, hands
    out events and sets the timer. It is synchronous, so cleanup code may use it.
    """

    def __init__(self, agent: UserAgent, transport: UdpTransport) -> None:
        self.agent = agent
        self._transport = transport
        self._timer = trio.CancelScope()
        self._idle = trio.Event()
        self._draining = False
        self._blamed: set[Address] = set()
        #: Called with each event, in order.
        self.on_event: Callable[[Event], None] = lambda event: None

    @property
    def address(self) -> Address:
        """Where it listens, as (host, port); the host may be the wildcard."""
        return self._transport.address

    def now(self) -> float:
        """The clock of this endpoint, in seconds."""
        return trio.current_time()

    async def flows_to(self, uri: Uri) -> list[Flow]:
        """Where requests to ``uri`` are sent, best first.

        Raises:
            ServerUnreachable: the host is unknown.
        """
        return [self._transport.flow_to(address) for address in await resolve(uri)]

    def flush(self) -> None:
        """Send, hand out events, set the timer. Does not block and does not raise."""
        agent = self.agent
        while True:
            for outgoing in agent.to_send(self.now()):
                if not self._transport.send(outgoing):
                    _log.warning("cannot send to %s", outgoing.flow)
                    agent.transport_failed(outgoing.flow, self.now())
            event = agent.next_event()
            if event is None:
                break
            self._hand_out(event)
        deadline = agent.get_timer()
        self._timer.deadline = math.inf if deadline is None else deadline
        if self._draining and agent.idle:
            self._idle.set()

    def _hand_out(self, event: Event) -> None:
        if isinstance(event, Malformed):
            self._blame(event)
            return
        try:
            self.on_event(event)
        except Exception:
            # One call's error must not end the pump that carries everybody's farewell.
            _log.exception("an event was not handled: %r", event)

    def _blame(self, event: Malformed) -> None:
        source = event.flow.remote
        if source not in self._blamed and len(self._blamed) < _REMEMBERED_SOURCES:
            self._blamed.add(source)
            _log.warning("dropped a message from %s: %s (said once)", event.flow, event.cause)

    async def drained(self) -> None:
        """Wait until nobody waits for us any more."""
        self._draining = True
        self.flush()
        await self._idle.wait()

    async def _receive(self) -> None:
        while True:
            for data, flow in await self._transport.receive():
                self.agent.receive(data, flow, self.now())
            self.flush()

    async def _keep_time(self) -> None:
        while True:
            self._timer = trio.CancelScope()
            self.flush()
            with self._timer:
                await trio.sleep_forever()
            # Never early: the deadline has passed on the very clock that `now` reads.
            self.agent.handle_timer(self.now())


@asynccontextmanager
async def open_endpoint(
    listen: Address = ("0.0.0.0", 0),
    *,
    drain: float = 5.0,
    screen: Screen | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Endpoint]:
    """Run a user agent on a UDP socket bound to ``listen``.

    Leaving the block, also by cancellation, gives every call its farewell, removes every
    registration, and waits up to ``drain`` seconds until the other ends have confirmed. What is
    abandoned then is logged by Call-ID.

    Raises:
        ServerUnreachable: ``listen`` cannot be bound.
    """
    agent = UserAgent(rng or random.SystemRandom(), screen=screen)
    with UdpTransport(listen) as transport:
        endpoint = Endpoint(agent, transport)
        pump = trio.CancelScope(shield=True)

        async def run() -> None:
            with pump:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(endpoint._receive)
                    nursery.start_soon(endpoint._keep_time)

        async with open_scope() as nursery:
            nursery.start_soon(run)
            try:
                yield endpoint
            finally:
                agent.close(endpoint.now())
                with trio.move_on_after(drain, shield=True) as patience:
                    await endpoint.drained()
                if patience.cancelled_caught:
                    abandoned = [session.call_id for session in agent.sessions]
                    _log.warning("not confirmed after %g s, abandoned: %s", drain, abandoned)
                pump.cancel()
