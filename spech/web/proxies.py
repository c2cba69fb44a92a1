"""Reverse proxies: who the client behind one is (RFC 7239, and X-Forwarded-For).

A client can send these headers itself. So only those of a proxy that the operator named are
believed, and of these only the addresses that such proxies added.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from spech.errors import SpechError

#: Headers that show that a request came through a proxy.
_PROXY_HEADERS = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"})
#: One parameter of a Forwarded header: a name, and a token or a quoted string (RFC 7239 4).
_PARAMETER = re.compile(r'\s*([A-Za-z-]+)=("[^"\\]*"|[^\s",;]*)\s*(;|,|$)')


class Client(NamedTuple):
    """Where a request comes from.

    ``source`` is the client's numeric address. ``proxied`` says that the request came through a
    proxy, so that the address of the TCP connection says nothing about the client.
    """

    source: str
    proxied: bool


class TrustedProxies:
    """The proxies whose headers are believed.

    Args:
        networks: addresses and networks, such as ``127.0.0.1`` and ``2001:db8::/32``.

    Raises:
        SpechError: one of them is neither an address nor a network.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        for network in networks:
            try:
                self._networks.append(ip_network(network))
            except ValueError as error:
                raise SpechError(f"{network!r} is not an address or a network: {error}.") from error

    def __contains__(self, address: str) -> bool:
        """Whether the host with that numeric address is one of the proxies."""
        parsed = _parse(address)
        if parsed is None:
            return False
        return any(ip_address(parsed) in network for network in self._networks)

    def client(self, peer: str, headers: Sequence[tuple[str, str]]) -> Client:
        """Who sent a request.

        Args:
            peer: the address at the other end of the TCP connection.
            headers: names and values of the request's headers.
        """
        if peer not in self:
            return Client(peer, came_through_proxy(name for name, _ in headers))
        chains = [
            _forwarded_for(_joined(headers, "forwarded")),
            _joined(headers, "x-forwarded-for").split(","),
        ]
        found = {self._last_untrusted(chain) for chain in chains} - {None}
        # A proxy writes one of the two headers and passes the other one on as the client sent it.
        # Where they differ, neither is believed.
        source = found.pop() if len(found) == 1 else None
        return Client(source or peer, proxied=True)

    def _last_untrusted(self, chain: Sequence[str]) -> str | None:
        """The last address that no trusted proxy has; None where it is not an address."""
        for element in reversed(chain):
            address = _parse(element)
            if address is None:
                return None
            if address not in self:
                return address
        return None


def came_through_proxy(names: Iterable[str]) -> bool:
    """Whether a request whose headers have these names shows that it came through a proxy."""
    return any(name.lower() in _PROXY_HEADERS for name in names)


def _joined(headers: Sequence[tuple[str, str]], wanted: str) -> str:
    return ",".join(value for name, value in headers if name.lower() == wanted)


def _forwarded_for(header: str) -> list[str]:
    """The ``for`` parameters of a Forwarded header; an empty list where it is malformed."""
    found: list[str] = []
    position = 0
    while position < len(header):
        match = _PARAMETER.match(header, position)
        if match is None:
            return []
        if match[1].lower() == "for":
            found.append(match[2].strip('"'))
        position = match.end()
    return found


def _parse(text: str) -> str | None:
    """The address in ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)
