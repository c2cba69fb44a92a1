"""Addresses and flows of messages, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from spech.addresses import Address


def host_port(address: Address) -> str:
    """``host:port`` as a URI or Via has it, IPv6 in brackets."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


#: The supported transports, as Via and ``;transport=`` write them.
TransportName = Literal["udp", "tcp", "tls", "ws", "wss"]
TRANSPORTS: Final[tuple[TransportName, ...]] = ("udp", "tcp", "tls", "ws", "wss")
#: The port where a URI names none (RFC 3261 19.1.2, RFC 7118 5.2.1).
DEFAULT_PORTS: Final = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """A destination: transport, numeric address, and the host name that was resolved to it."""

    transport: str
    address: Address
    host: str


FlowRecord = tuple[str, Address, Address, str]
"""A :class:`Flow` as plain values, in the order of its fields."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A path between us and one peer: transport, our address, theirs.

    For UDP every peer is a flow of the one socket; for streams a flow is one connection, and
    ``local`` is where we take connections ourselves. ``host`` is the name that the peer's
    certificate must hold (TLS, WSS) or that its web server is asked by (WS); else it is empty.
    """

    transport: str
    local: Address
    remote: Address
    host: str = ""

    @property
    def reliable(self) -> bool:
        """Whether the transport retransmits by itself (RFC 3261 17)."""
        return self.transport != "udp"

    @property
    def secure(self) -> bool:
        """Whether the transport encrypts."""
        return self.transport in ("tls", "wss")

    @property
    def target(self) -> Target:
        """The destination at its other end."""
        return Target(self.transport, self.remote, self.host)

    @property
    def record(self) -> FlowRecord:
        """The flow as plain values; ``Flow(*record)`` is the same one again."""
        return self.transport, self.local, self.remote, self.host

    def __str__(self) -> str:
        return f"{self.transport}:{host_port(self.remote)}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Bytes to send, and the object to tell when they cannot be sent."""

    data: bytes
    flow: Flow
    sender: object | None = None
