"""Which of our addresses a peer sees."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

_REMEMBERED: Final = 1000
#: Addresses of no host (RFC 5737, RFC 3849): packets to them would take the default route.
_ANYWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
_LOOPBACK: Final = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def family(host: str) -> socket.AddressFamily:
    """The family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class LocalHosts:
    """Answers with ``listen`` itself, or, where that is a wildcard, as the routing table says."""

    def __init__(self, listen: str) -> None:
        self._host = None if ipaddress.ip_address(listen).is_unspecified else listen
        self._known: dict[str, str] = {}
        kind = family(listen)
        #: The answer while no descriptor is left to ask the routing table with.
        self._default = self._ask(_ANYWHERE[kind]) or _LOOPBACK[kind]

    def towards(self, remote: str) -> str:
        """Our numeric address that packets to ``remote`` carry."""
        return self._host or self._known.get(remote) or self._find(remote)

    def changed(self, remote: str, host: str) -> bool:
        """Whether packets to ``remote`` carry another address than ``host`` now.

        Then this machine is on another network, and every address is looked up again.
        """
        if self._host is not None or self._ask(remote) in (host, None):
            return False
        self._known.clear()
        return True

    def _find(self, remote: str) -> str:
        host = self._ask(remote)
        if host is None:
            return self._default  # Not remembered, so the next packet asks again.
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[remote] = host
        return host

    @staticmethod
    def _ask(remote: str) -> str | None:
        """What the routing table says; None while no descriptor is left to ask it."""
        try:
            probe = socket.socket(family(remote), socket.SOCK_DGRAM)
        except OSError:
            return None
        # Connecting a datagram socket sends nothing; it asks the routing table.
        with probe:
            try:
                probe.connect((remote, 9))
                return str(probe.getsockname()[0])
            except OSError:
                return _LOOPBACK[family(remote)]  # There is no route.
