"""Asks a STUN server for our public addresses before a call (RFC 8489, RFC 8445 5.1.1.2)."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

import trio

from spech.addresses import Address
from spech.errors import RemoteProtocolError
from spech.rtp import stun
from spech.rtp.ports import PortPair
from spech.rtp.stun import Kind

#: Seconds after which a request is repeated. RFC 8489 starts with half a second, but the caller is
#: waiting: the call is placed without a slower server.
_PAUSES = (0.1, 0.15, 0.25)

_LARGEST = 2048


async def reflexive(
    pair: PortPair, server: Address, rng: random.Random
) -> tuple[Address | None, Address | None]:
    """Ask a STUN server for the public addresses of both sockets of a pair; None without an answer.

    Takes half a second at the most. Anything else that arrives meanwhile is dropped, because
    nothing is negotiated yet.
    """
    seen: list[Address | None] = [None, None]

    async def ask(index: int, asking: socket.socket) -> None:
        seen[index] = await _ask(asking, server, rng)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 0, pair.rtp)
        nursery.start_soon(ask, 1, pair.rtcp)
    return seen[0], seen[1]


async def _ask(asking: socket.socket, server: Address, rng: random.Random) -> Address | None:
    transaction = stun.transaction(rng)
    request = stun.build(Kind.REQUEST, transaction)
    for pause in _PAUSES:
        with suppress(OSError):  # Unreachable: the same as no answer.
            asking.sendto(request, server)
        with trio.move_on_after(pause):
            while True:
                await trio.lowlevel.wait_readable(asking)
                seen = _read(asking, server, transaction)
                if seen is not None:
                    return seen
    return None


def _read(asking: socket.socket, server: Address, transaction: bytes) -> Address | None:
    """The address in the answer, None where the datagram is not the answer."""
    try:
        data, source = asking.recvfrom(_LARGEST)
        message = stun.parse(data)
    except (OSError, RemoteProtocolError):
        return None
    if source[:2] != server or message.transaction != transaction:
        return None
    return message.mapped_address if message.kind is Kind.SUCCESS else None
