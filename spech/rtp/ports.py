"""Pairs of UDP ports for RTP and RTCP, leased from a range and freed on exit, whatever happens.

RTP takes an even port and RTCP the odd one above it (RFC 3550 section 11).
"""

from __future__ import annotations

import contextlib
import errno
import random
import select
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from spech.errors import PortsExhausted

SO_TIMESTAMPNS = 35
"""Linux's socket option for kernel arrival times; Python's socket module does not name it."""

_EXPEDITED_FORWARDING = 46 << 2
_IN_USE = (errno.EADDRINUSE, errno.EACCES)


@dataclass(frozen=True, slots=True)
class PortRange:
    """UDP ports ``first`` to ``last``, both included.

    Raises:
        ValueError: these are not valid ports, or the range holds no pair.
        TypeError: these are no numbers.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not (isinstance(self.first, int) and isinstance(self.last, int)):
            raise TypeError(f"ports are numbers, not {self.first!r} and {self.last!r}")
        if not 1 <= self.first <= self.last <= 65535:
            raise ValueError(f"{self.first}-{self.last} is not a range of ports")
        if self.pairs == 0:
            raise ValueError(f"{self.first}-{self.last} holds no pair of an even and an odd port")

    @property
    def first_even(self) -> int:
        """The lowest RTP port of the range."""
        return self.first + self.first % 2

    @property
    def pairs(self) -> int:
        """How many pairs the range holds, which is how many calls it can carry."""
        return max(0, (self.last + 1 - self.first_even) // 2)


def _perhaps(_: int) -> bool:
    """What :attr:`PortPair.more` says on systems without poll(2): a read will tell."""
    return True


@dataclass(frozen=True, slots=True)
class PortPair:
    """Two bound, non-blocking UDP sockets. ``port`` is the even RTP port.

    ``more(0)`` is false where surely no datagram waits in the RTP socket. It costs a quarter of a
    read that finds nothing.
    """

    rtp: socket.socket
    rtcp: socket.socket
    address: str
    port: int
    more: Callable[[int], object] = _perhaps


@contextlib.contextmanager
def lease(address: str, ports: PortRange, rng: random.Random) -> Iterator[PortPair]:
    """Bind a free pair of ``ports`` on ``address`` for the time of a ``with`` block.

    The search starts at a random pair, so that a port is not reused at once for another call
    while late packets of the last one still arrive, and so that it is hard to guess.

    Raises:
        PortsExhausted: every pair is in use.
        OSError: ``address`` is not an address of this machine.
    """
    pair = _bind_any(address, ports, rng)
    try:
        yield pair
    finally:
        pair.rtp.close()
        pair.rtcp.close()


def _bind_any(address: str, ports: PortRange, rng: random.Random) -> PortPair:
    first, pairs = ports.first_even, ports.pairs
    offset = rng.randrange(pairs)
    for step in range(pairs):
        port = first + 2 * ((offset + step) % pairs)
        try:
            rtp = _bind(address, port)
        except OSError as error:
            if error.errno in _IN_USE:
                continue
            raise
        try:
            rtcp = _bind(address, port + 1)
        except OSError as error:
            rtp.close()
            if error.errno in _IN_USE:
                continue
            raise
        return PortPair(rtp, rtcp, address, port, _readiness(rtp))
    raise PortsExhausted(
        f"all {pairs} pairs of UDP ports {ports.first}-{ports.last} on {address} are in use"
    )


def _readiness(rtp: socket.socket) -> Callable[[int], object]:
    """See :attr:`PortPair.more`."""
    if not hasattr(select, "poll"):
        return _perhaps
    poll = select.poll()
    poll.register(rtp, select.POLLIN)
    return poll.poll


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.bind((address, port))
        # Both are refinements; a system without them still carries the call.
        with contextlib.suppress(OSError):
            if sys.platform == "linux":
                bound.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):
            if family == socket.AF_INET:
                bound.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _EXPEDITED_FORWARDING)
            else:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _EXPEDITED_FORWARDING)
    except BaseException:
        bound.close()
        raise
    return bound
