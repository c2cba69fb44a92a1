"""Which requests the web phone accepts: checks of Host and Origin, and an optional password.

A page of a foreign site can make a browser send requests here; it cannot choose the Host and
Origin headers. Host keeps out DNS rebinding (a foreign name that was made to resolve to this
machine), Origin keeps out foreign pages that open our WebSockets.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from spech.errors import SpechError

_DEFAULT_PORTS = {"http": 80, "https": 443}


#: Characters that a password needs where other machines reach the phone.
MIN_PASSWORD = 10


class Gate:
    """Decides which requests one web server accepts.

    Args:
        host: the address or name that the server listens on.
        password: asked for by HTTP Basic when not None; the user name is free.
        allowed_hosts: further names under which the phone may be reached.

    Raises:
        SpechError: ``host`` can be reached from other machines, and there is no password or one
            of less than ten characters.
    """

    def __init__(
        self, host: str, *, password: str | None = None, allowed_hosts: Iterable[str] = ()
    ) -> None:
        self._open = not is_loopback(host)
        if self._open and not password:
            raise SpechError(
                f"Listening on {host or 'every address'} makes the phone reachable from other "
                "machines, so it needs a password: set SPECH_WEB_PASSWORD, or listen on 127.0.0.1."
            )
        if self._open and password and len(password) < MIN_PASSWORD:
            raise SpechError(
                f"The password (SPECH_WEB_PASSWORD) needs at least {MIN_PASSWORD} characters, "
                "because other machines can reach the phone."
            )
        self._allowed = {name.lower().rstrip(".") for name in (host, *allowed_hosts) if name}
        self._password = None if password is None else _fingerprint(password)

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

    @property
    def has_password(self) -> bool:
        """Whether requests need the password. Without one the phone listens on loopback only."""
        return self._password is not None

    def authorized(self, authorization: str | None) -> bool:
        """Whether the Authorization header carries the password (RFC 7617), in constant time."""
        if self._password is None:
            return True
        scheme, _, credentials = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(credentials.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return False
        _, _, given = decoded.partition(":")
        return hmac.compare_digest(_fingerprint(given), self._password)


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


def _fingerprint(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
