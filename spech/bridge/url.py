"""The URLs of bots, in which parts may come from the call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, urlsplit

from spech.errors import LocalProtocolError
from spech.sip.transaction.flow import host_port

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_KNOWN: Final = re.compile(r"called|caller|header:[A-Za-z0-9-]+")
_BRACE: Final = re.compile("[{}]")
#: ASCII characters without the blank.
VISIBLE: Final = re.compile("[!-~]+")
#: Characters of what takes a placeholder's place.
_LONGEST_VALUE: Final = 256


@dataclass(frozen=True, slots=True)
class WebSocketUrl:
    """The URL of a bot's server: ``ws://host[:port]/path``, ``wss://…`` or ``tcp://host:port``.

    The last one is for AudioSocket.

    Path and query may contain ``{called}``, ``{caller}`` and ``{header:X-…}``; see :meth:`fill`.

    Raises:
        LocalProtocolError: it is not such a URL.
    """

    host: str
    port: int
    resource: str
    tls: bool
    audiosocket: bool = False

    @classmethod
    def parse(cls, url: str) -> WebSocketUrl:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise LocalProtocolError(f"{url!r} is not an address: {error}") from None
        if parts.scheme == "tcp" and parts.hostname and port and not parts.path:
            return cls(parts.hostname, port, "", tls=False, audiosocket=True)
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username is not None:
            raise LocalProtocolError(
                f"{url!r} is not ws://host[:port]/path, wss://… or tcp://host:port"
            )
        tls = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not VISIBLE.fullmatch(parts.hostname + resource) or "{" in parts.netloc:
            raise LocalProtocolError(f"{url!r} has characters that a URL cannot have there")
        for name in _PLACEHOLDER.findall(resource):
            if not _KNOWN.fullmatch(name):
                raise LocalProtocolError(
                    f"{url!r} has {{{name}}}; known are {{called}}, {{caller}} and {{header:X-…}}"
                )
        if _BRACE.search(_PLACEHOLDER.sub("", resource)):
            raise LocalProtocolError(f"{url!r} has a brace without its other half")
        return cls(parts.hostname, port or (443 if tls else 80), resource, tls)

    def fill(self, called: str, caller: str, headers: Mapping[str, str]) -> WebSocketUrl:
        """The URL for one call. Whatever is not a letter, a digit or one of ``-._~`` is
        percent-encoded (RFC 3986 2.1); a header field that the call does not have is empty.

        Raises:
            LocalProtocolError: a value is longer than 256 characters, or a part of the path becomes
                ``.`` or ``..``, which servers take for another folder.
        """
        values = {f"header:{name}".lower(): value for name, value in headers.items()}
        values |= {"called": called, "caller": caller}

        def encoded(found: re.Match[str]) -> str:
            value = values.get(found[1].lower(), "")
            if len(value) > _LONGEST_VALUE:
                raise LocalProtocolError(f"{value[:40]!r} cannot be part of a URL")
            return quote(value, safe="")

        resource = _PLACEHOLDER.sub(encoded, self.resource)
        path = resource.partition("?")[0]
        if not {".", ".."}.isdisjoint(path.split("/")):
            raise LocalProtocolError(f"{path[:80]!r} is not a path for a call")
        return replace(self, resource=resource)

    @property
    def server(self) -> tuple[str, int, bool]:
        """Host, port and whether TLS is used: whom a secret that is sent to it reaches."""
        return self.host.lower(), self.port, self.tls

    @property
    def shown(self) -> str:
        """Without the query, which may hold a secret, for logs and records."""
        return str(replace(self, resource=self.resource.partition("?")[0]))

    def __str__(self) -> str:
        """Without the port that is usual for the scheme."""
        shown = host_port((self.host, self.port))
        if self.audiosocket:
            return f"tcp://{shown}"
        if self.port == (443 if self.tls else 80):
            shown = shown.removesuffix(f":{self.port}")
        return f"{'wss' if self.tls else 'ws'}://{shown}{self.resource}"
