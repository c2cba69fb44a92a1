"""SIP's sockets, one file for each way of carrying messages.

A transport sends at once or queues, without waiting, so that farewells can be sent by code that
must not be interrupted; :meth:`Transport.run` does the waiting, in the endpoint's shielded pump.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Protocol

from spech.sip.transaction.flow import Flow, Outgoing, Target

#: A whole message and the flow that it came by.
Arrival = tuple[bytes, Flow]


class Pump(Protocol):
    """What a transport tells the endpoint."""

    def receive(self, arrivals: Sequence[Arrival]) -> None:
        """Messages came."""

    def broken(self, flow: Flow, reason: str) -> None:
        """A connection ended or could not be made; what was sent on it may be lost."""

    def sent(self) -> None:
        """Something that waited has been sent."""

    def is_known(self, host: str) -> bool:
        """Whether messages of this numeric address come first where there are too many."""

    def shed(self, count: int) -> None:
        """So many messages of strangers were dropped unread, because too many waited."""

    def flows_in_use(self) -> Set[Flow]:
        """The flows that a call or a registration depends on."""


class Transport(Protocol):
    """One way of carrying messages."""

    def reaches(self, target: Target) -> bool:
        """Whether it speaks that transport to that kind of address."""

    def flow_to(self, target: Target) -> Flow:
        """The flow to ``target``, with the address of ours that it can answer to."""

    def send(self, outgoing: Outgoing) -> bool:
        """Send or queue at once. False when that cannot be."""

    @property
    def pending(self) -> bool:
        """Whether something still waits to be sent."""

    def moved(self, flow: Flow) -> bool:
        """Whether this machine has another address towards ``flow`` now; then it is looked up."""

    def share(self, flow: Flow, port: int | None) -> None:
        """Carry what goes to the peer's ``port`` (None: the usual one) by ``flow``, where safe."""

    def keep_alive(self, flow: Flow) -> None:
        """Send what keeps a NAT's binding open, where the transport does not do so by itself."""

    async def run(self, pump: Pump) -> None:
        """Carry messages until cancelled."""
