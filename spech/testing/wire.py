"""A simulated network with virtual time, for the pure SIP stack.

:class:`FakeWire` carries datagrams between user agents in virtual time. It can lose, duplicate,
delay and so reorder them. One seed determines everything, so that a run can be repeated. The
32 seconds of Timer H take microseconds.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from spech.addresses import Address
from spech.errors import LocalProtocolError
from spech.sip.agent import Screen, UserAgent
from spech.sip.dialog.event import Event
from spech.sip.message.message import Request, Response, SipMessage
from spech.sip.message.parser import parse
from spech.sip.transaction.flow import Flow, Outgoing

#: Default delay of a packet, in virtual seconds.
LATENCY: Final = 0.01


@dataclass(frozen=True, slots=True)
class Packet:
    """One datagram as it was sent: time, source, destination, and whether the wire lost it."""

    time: float
    source: Address
    destination: Address
    data: bytes
    lost: bool

    @property
    def message(self) -> SipMessage:
        """The datagram, parsed."""
        return parse(self.data)

    @property
    def kind(self) -> str:
        """Method, or status and method: ``INVITE``, ``200 INVITE``."""
        message = self.message
        if isinstance(message, Request):
            return message.method
        return f"{message.status} {message.cseq.method}"


class Peer:
    """A host on the wire. An agent runs it; without one, the test acts for it.

    ``events`` collects the agent's events, ``inbox`` the messages to a host without an agent.
    """

    def __init__(self, wire: FakeWire, address: Address, agent: UserAgent | None) -> None:
        self.address = address
        self.events: list[Event] = []
        self.inbox: list[SipMessage] = []
        #: Called with each event, so that a test can react at once.
        self.on_event: Callable[[Event], None] = lambda event: None
        self._wire = wire
        self._agent = agent

    @property
    def agent(self) -> UserAgent:
        """The user agent of this host.

        Raises:
            LocalProtocolError: this host has no agent.
        """
        if self._agent is None:
            raise LocalProtocolError("this host has no agent")
        return self._agent

    def flow_to(self, other: Peer) -> Flow:
        """The flow from here to ``other``."""
        return Flow("udp", self.address, other.address)

    def send(self, message: SipMessage, other: Peer) -> None:
        """Put a message on the wire."""
        self._wire.carry(Outgoing(bytes(message), self.flow_to(other)))

    def take(self, kind: str) -> Request | Response:
        """Remove and return the first message in the inbox of that kind (see :class:`Packet`).

        Raises:
            LookupError: there is none.
        """
        for message in self.inbox:
            name = (
                message.method
                if isinstance(message, Request)
                else f"{message.status} {message.cseq.method}"
            )
            if name == kind:
                self.inbox.remove(message)
                return message
        raise LookupError(f"there is no {kind} in the inbox")

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Receive a datagram from the wire."""
        if self._agent is None:
            self.inbox.append(parse(data))
        else:
            self._agent.receive_message(data, Flow("udp", self.address, source), now)

    def get_timer(self) -> float | None:
        """The next deadline of this host."""
        return None if self._agent is None else self._agent.get_timer()

    def handle_timer(self, now: float) -> None:
        """Handle the timers that are due."""
        if self._agent is not None:
            self._agent.handle_timer(now)

    def flush(self) -> None:
        """Put the agent's outgoing messages on the wire, and collect its events."""
        if self._agent is None:
            return
        while True:
            for outgoing in self._agent.to_send(self._wire.now):
                if outgoing.flow.local != self.address:  # The host has moved.
                    outgoing = replace(outgoing, flow=replace(outgoing.flow, local=self.address))
                self._wire.carry(outgoing)
            event = self._agent.next_event()
            if event is None:
                return
            self.events.append(event)
            self.on_event(event)


class FakeWire:
    """Carries datagrams between peers in virtual time.

    Args:
        seed: of all randomness, that of the agents included.
        loss, duplication: share of datagrams, 0 to 1.
        delay: the smallest and the largest latency in seconds; different delays reorder.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        loss: float = 0.0,
        duplication: float = 0.0,
        delay: tuple[float, float] = (LATENCY, LATENCY),
    ) -> None:
        self.now = 1000.0
        #: Every datagram in the order of sending, including lost ones.
        self.log: list[Packet] = []
        #: A test's own rule for loss: returns True for a packet to drop.
        self.drop: Callable[[Packet], bool] = lambda packet: False
        self.loss = loss
        self._duplication = duplication
        self._delay = delay
        self._random = random.Random(seed)
        self._peers: dict[Address, Peer] = {}
        self._flying: list[tuple[float, int, Packet]] = []
        self._serial = 0

    def peer(
        self, host: str, port: int = 5060, *, agent: bool = True, screen: Screen | None = None
    ) -> Peer:
        """A new host at ``host:port``; without an agent if ``agent`` is False."""
        address = (host, port)
        seed = self._random.getrandbits(64)
        user_agent = UserAgent(random.Random(seed), screen=screen) if agent else None
        self.add(Peer(self, address, user_agent))
        return self._peers[address]

    def add(self, peer: Peer) -> None:
        """Put a host of a program's own on the wire."""
        self._peers[peer.address] = peer

    def move(self, peer: Peer, host: str) -> None:
        """Give ``peer`` another address; datagrams in flight to the old one are lost."""
        del self._peers[peer.address]
        peer.address = (host, 5060)
        self._peers[peer.address] = peer

    def carry(self, outgoing: Outgoing) -> None:
        """Send a datagram."""
        flow = outgoing.flow
        packet = Packet(self.now, flow.local, flow.remote, outgoing.data, lost=False)
        copies = 2 if self._random.random() < self._duplication else 1
        lost = self._random.random() < self.loss or self.drop(packet)
        if lost or flow.remote not in self._peers:
            self.log.append(Packet(self.now, flow.local, flow.remote, outgoing.data, lost=True))
            return
        self.log.append(packet)
        for _ in range(copies):
            self._serial += 1
            arrival = self.now + self._random.uniform(*self._delay)
            heapq.heappush(self._flying, (arrival, self._serial, packet))

    def run(self, seconds: float = 0.0) -> None:
        """Advance time by ``seconds``: deliver datagrams, handle timers, send."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], seconds: float = 200.0) -> bool:
        """Advance time until ``done()``, by at most ``seconds``. True if it was done."""
        end = self.now + seconds
        for peer in self._peers.values():
            peer.flush()
        while not done():
            at = self._next_at()
            if at is None or at > end:
                self.now = end
                return False
            self.now = max(self.now, at)
            if self._flying and self._flying[0][0] <= self.now:
                _, _, packet = heapq.heappop(self._flying)
                receiver = self._peers.get(packet.destination)
                if receiver is not None:
                    receiver.receive_datagram(packet.data, packet.source, self.now)
            else:
                for peer in self._peers.values():
                    peer.handle_timer(self.now)
            for peer in self._peers.values():
                peer.flush()
        return True

    def _next_at(self) -> float | None:
        times = [timer for peer in self._peers.values() if (timer := peer.get_timer()) is not None]
        if self._flying:
            times.append(self._flying[0][0])
        return min(times, default=None)

    def ladder(self, *, lost: bool = True) -> list[str]:
        """The sent datagrams, one line each, as ``source kind``, marked ``x`` if lost."""
        return [
            f"{'x ' if packet.lost else ''}{packet.source[0]} {packet.kind}"
            for packet in self.log
            if lost or not packet.lost
        ]
