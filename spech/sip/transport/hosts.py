"""Which address of ours a peer sees."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

_REMEMBERED: Final = 1000


def family(host: str) -> socket.AddressFamily:
    """The family of a numeric address."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class LocalHosts:
    """Answers with ``listen`` itself, or, where that is a wildcard, as the routing table says."""

    def __init__(self, listen: str) -> None:
        self._host = None if ipaddress.ip_address(listen).is_unspecified else listen
        self._known: dict[str, str] = {}

    def towards(self, remote: str) -> str:
        """The numeric address of ours that packets to ``remote`` carry."""
        return self._host or self._known.get(remote) or self._find(remote)

    def changed(self, remote: str, host: str) -> bool:
        """Whether packets to ``remote`` carry another address than ``host`` now.

        Then every address is looked up anew: this machine is on another network.
        """
        if self._host is not None or self._find(remote) == host:
            return False
        self._known.clear()
        return True

    def _find(self, remote: str) -> str:
        # Connecting a datagram socket sends nothing; it asks the routing table.
        with socket.socket(family(remote), socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote, 9))
                host = str(probe.getsockname()[0])
            except OSError:
                host = "::1" if ":" in remote else "127.0.0.1"
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[remote] = host
        return host
