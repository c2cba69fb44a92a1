"""The URLs of bots."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from spech.errors import LocalProtocolError
from spech.sip.transaction.flow import host_port


@dataclass(frozen=True, slots=True)
class WebSocketUrl:
    """The URL of a bot's server: ``ws://host[:port]/path``, ``wss://…`` or ``tcp://host:port``.

    The last one is for AudioSocket.

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
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise LocalProtocolError(
                f"{url!r} is not ws://host[:port]/path, wss://… or tcp://host:port"
            )
        tls = parts.scheme == "wss"
        resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.hostname, port or (443 if tls else 80), resource, tls)

    def __str__(self) -> str:
        if self.audiosocket:
            return f"tcp://{host_port((self.host, self.port))}"
        return f"{'wss' if self.tls else 'ws'}://{host_port((self.host, self.port))}{self.resource}"
