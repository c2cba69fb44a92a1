"""Room that many sources share, kept so that a noisy one does not starve the others."""

from __future__ import annotations

import enum
from collections import Counter
from ipaddress import IPv6Address


class Standing(enum.Enum):
    """For whom room is taken."""

    STRANGER = "anyone"
    #: A peer that we registered with, that was configured, or that we have a call with.
    KNOWN = "a known peer"
    #: A request that ends or continues what was admitted before: the BYE of a call, say.
    ADMITTED = "part of a call"


class Shares:
    """A limited amount of something, lent to sources.

    A source may hold no more than what is still free: one alone gets half of all, two noisy ones
    a third each, and there is always as much left as the noisiest holds (this is the dynamic
    threshold by which switches share their buffers).

    There is more than ``limit``, so that many strangers together keep no known peer out: known
    peers share a quarter more in the same way, and what was admitted has another eighth.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lent = 0
        self._held: Counter[str] = Counter()

    def take(self, source: str, amount: int = 1, standing: Standing = Standing.STRANGER) -> bool:
        """Lend ``amount`` to ``source``, or return False because there is no room."""
        room = self.limit - self.lent
        if standing is Standing.ADMITTED:
            room += self.limit // 4 + self.limit // 8
        else:
            room -= self._held.get(source, 0)
            if standing is Standing.KNOWN:
                room += self.limit // 4
        if amount > room:
            return False
        self.lent += amount
        self._held[source] += amount
        return True

    def give_back(self, source: str, amount: int = 1) -> None:
        """``source`` no longer needs ``amount`` of what it took."""
        self.lent -= amount
        self._held[source] -= amount
        if not self._held[source]:
            del self._held[source]

    def __len__(self) -> int:
        return len(self._held)


def source_of(host: str) -> str:
    """The source that a numeric address belongs to: an IPv4 address, or an IPv6 network of 64 bits.

    A host that has one IPv6 address usually has all of its network.
    """
    if ":" not in host:
        return host
    address = IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()
