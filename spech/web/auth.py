"""Which requests the web phone accepts: checks of Host and Origin.

A page of a foreign site can make a browser send requests here; it cannot choose the Host and
Origin headers. Host keeps out DNS rebinding (a foreign name that was made to resolve to this
machine), Origin keeps out foreign pages that open our WebSockets.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Gate:
    """Decides which requests one web server accepts.

    Args:
        host: the address or name that the server listens on.
        allowed_hosts: further names under which the phone may be reached.
    """

    def __init__(self, host: str, *, allowed_hosts: Iterable[str] = ()) -> None:
        self._open = not is_loopback(host)
        self._allowed = {name.lower().rstrip(".") for name in (host, *allowed_hosts) if name}

    def host_allowed(self, host_header: str | None) -> bool:
        """Whether the Host header names this server: by a loopback name or address, by a name it
        was given, or, where it listens for other machines too, by any literal address (an address
        cannot be rebound as a name can)."""
        name = host_name(host_header)
        if name is None:
            return False
        return name in self._allowed or is_loopback(name) or (self._open and _is_address(name))

    def origin_allowed(self, origin: str) -> bool:
        """Whether a page of that origin is one of ours, on whatever port it is served."""
        scheme, _, host = origin.partition("://")
        return scheme in _DEFAULT_PORTS and self.host_allowed(host)


def same_origin(origin: str | None, host_header: str | None) -> bool:
    """Whether the Origin header is absent (not a browser) or names the host of the request."""
    if origin is None:
        return True
    try:
        page = urlsplit(origin)
        here = urlsplit(f"//{host_header or ''}")
        if page.scheme not in _DEFAULT_PORTS or not page.hostname:
            return False
        default = _DEFAULT_PORTS[page.scheme]
        return (page.hostname, page.port or default) == (here.hostname, here.port or default)
    except ValueError:
        return False


def host_name(host_header: str | None) -> str | None:
    """The name in a Host header, lower case, without port and brackets; None when unusable."""
    if not host_header or any(character in host_header for character in "/@\\ \t"):
        return None
    try:
        parts = urlsplit(f"//{host_header}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


def is_loopback(host: str) -> bool:
    """Whether a name or address can only ever mean this machine (RFC 6761 6.3)."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
