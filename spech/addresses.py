"""Network addresses as plain values, below signalling and media."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = tuple[str, int]
"""A numeric IP address without brackets, and a port."""


@lru_cache(maxsize=4096)
def numeric(host: str) -> IPv4Address | IPv6Address | None:
    """``host`` as an IP address, or None if it is a name. Cached, because few hosts are common."""
    try:
        return ip_address(host)
    except ValueError:
        return None
