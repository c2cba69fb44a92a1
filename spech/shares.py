"""Room that many sources share, kept so that a noisy one does not starve the others."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address


class Shares:
    """A limited amount of something, lent to sources.

    A source may hold no more than what is still free: one alone gets half of all, two noisy ones
    a third each, and there is always as much left as the noisiest holds (this is the dynamic
    threshold that switches share their buffers by).
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lent = 0
        self._held: Counter[str] = Counter()

    def take(self, source: str, amount: int = 1, *, entitled: bool = False) -> bool:
        """Lend ``amount`` to ``source``, or say that there is no room.

        ``entitled`` is for what ends or goes on with something that was admitted before. It need
        not share, and a quarter beyond the limit is kept for it.
        """
        if entitled:
            room = self.limit + self.limit // 4 - self.lent
        else:
            room = self.limit - self.lent - self._held.get(source, 0)
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
    """What counts as one source: an IPv4 address, or an IPv6 network of 64 bits.

    Whoever has one IPv6 address usually has all of its network.
    """
    if ":" not in host:
        return host
    address = IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()
