"""Divides a limited amount among sources, so that a noisy one does not starve the others."""

from __future__ import annotations

import enum
from collections import Counter
from ipaddress import IPv6Address


class Standing(enum.Enum):
    """The standing of a source that takes a share."""

    STRANGER = "anyone"
    #: A peer that we registered with, that was configured, that we have a call with, or that has
    #: authenticated.
    KNOWN = "a known peer"
    #: A request that ends or continues what was admitted before, such as the BYE of a call.
    ADMITTED = "part of a call"


class Shares:
    """A limited amount of something, lent to sources.



    A source may hold no more than what is still free: a single one gets half of the limit, two
    noisy ones a third each, and as much is always free as the noisiest holds. Switches share their
    buffers by the same rule, the dynamic threshold.

    There are reserves above ``limit``, so that many strangers together cannot lock out known peers:
    a quarter of ``limit`` for known peers, divided in the same way, and another eighth for
    requests that belong to what was admitted before.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lent = 0
        self._held: Counter[str] = Counter()

    def take(self, source: str, amount: int = 1, standing: Standing = Standing.STRANGER) -> bool:
        """Lend ``amount`` to ``source``, or return False if not enough is free."""
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
        """Return ``amount`` of what ``source`` took."""
        self.lent -= amount
        self._held[source] -= amount
        if not self._held[source]:
            del self._held[source]

    def __len__(self) -> int:
        return len(self._held)


def source_of(host: str) -> str:
    """The source that a numeric address belongs to: an IPv4 address, or an IPv6 network of 64 bits.

    A host with one IPv6 address can usually use its whole network.
    """
    if ":" not in host:
        return host
    address = IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()
