"""The sockets of SIP, one file for each kind of transport.

A transport sends at once or queues, without waiting, so that farewells can be sent by code that
must not be interrupted; :meth:`Transport.run` does the waiting, in the endpoint's shielded pump.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Protocol

from spech.addresses import Address
from spech.sip.transaction.flow import Flow, Outgoing, Target

#: A whole message and the flow that it came by.
Arrival = tuple[bytes, Flow]


class Pump(Protocol):
    """The interface that the endpoint gives its transports."""

    def receive_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Messages have been received."""

    def broken(self, flow: Flow, reason: str) -> None:
        """A connection ended or could not be made; what was sent on it may be lost."""

    def refused(self, quoted: bytes, remote: Address) -> None:
        """``remote`` has no open port there (ICMP); ``quoted`` begins the datagram sent to it."""

    def sent(self) -> None:
        """A queued message has been sent."""

    def is_known(self, host: str) -> bool:
        """Whether messages of this numeric address come first where there are too many."""

    def shed(self, count: int) -> None:
        """So many messages of strangers were dropped unread, because too many waited."""

    def flows_in_use(self) -> Set[Flow]:
        """The flows that a call or a registration depends on."""


class Transport(Protocol):
    """Carries messages over one kind of transport."""

    def reaches(self, target: Target) -> bool:
        """Whether it supports the transport and address family of ``target``."""

    def flow_to(self, target: Target) -> Flow:
        """The flow to ``target``, with the address of ours that it can answer to."""

    def send(self, outgoing: Outgoing) -> bool:
        """Send or queue at once. False when that is not possible."""

    @property
    def pending(self) -> bool:
        """Whether a message is still queued."""

    @property
    def open_flows(self) -> Set[Flow]:
        """The connections that are open, none where there are only datagrams."""

    def moved(self, flow: Flow) -> bool:
        """Whether our address towards the peer of ``flow`` has changed."""

    def share(self, flow: Flow, port: int | None) -> None:
        """Use ``flow`` for messages to the peer's ``port`` (None: the default) if that is safe."""

    def keep_alive(self, flow: Flow) -> None:
        """Keep a NAT's binding open, where the transport does not do so by itself."""

    async def run(self, pump: Pump) -> None:
        """Carry messages until cancelled."""
