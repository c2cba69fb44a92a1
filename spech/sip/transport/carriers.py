"""Opens the transports of an endpoint: UDP and TCP on one port, TLS on the next."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from spech.addresses import Address
from spech.errors import ServerUnreachable
from spech.sip.transport import Transport
from spech.sip.transport.connections import ConnectionTransport, Door, LinkOpener
from spech.sip.transport.stream import accept_tcp, open_tcp
from spech.sip.transport.stream import listen as listen_tcp
from spech.sip.transport.tls import TlsAcceptor, TlsConnector, TlsSettings
from spech.sip.transport.udp import UdpTransport

if TYPE_CHECKING:
    from spech.sip.transport.websocket import WebSocketConnector

#: Free ports that are looked at until one is free for both UDP and TCP.
_PORT_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Carriers:
    """Open transports, and the addresses at which they take messages.

    Attributes:
        transports: the transports.
        doors: the name of a transport and an address, one for each transport and family; the host
            may be the wildcard.
    """

    transports: Sequence[Transport]
    doors: Sequence[tuple[str, Address]]

    def door(self, transport: str) -> Address | None:
        """The first address for ``transport``, None without one."""
        return next((address for name, address in self.doors if name == transport), None)


@contextmanager
def open_carriers(
    listen: Address, tls: TlsSettings, websocket_path: str, rng: random.Random
) -> Iterator[Carriers]:
    """The transports of this process, for a block."""
    acceptor = None if tls.certificate_file is None else TlsAcceptor(tls)
    with _sockets(listen, acceptor) as sockets:
        secure = TlsConnector(tls)

        def web() -> WebSocketConnector:
            from spech.sip.transport.websocket import WebSocketConnector  # Few accounts need it.

            return WebSocketConnector(websocket_path, secure)

        openers: dict[str, LinkOpener] = {
            "tcp": open_tcp,
            "tls": secure.open_link,
            "ws": lambda flow: web().open_plain(flow),
            "wss": lambda flow: web().open_secure(flow),
        }
        connections = ConnectionTransport(sockets.doors, sockets.addresses, openers, rng)
        doors = [("udp", address) for address in sockets.addresses]
        doors += [(door.transport, door.address) for door in sockets.doors]
        yield Carriers([*sockets.datagrams, connections], doors)


@dataclass(frozen=True, slots=True)
class _Sockets:
    datagrams: list[UdpTransport]
    doors: list[Door]
    addresses: list[Address]


@contextmanager
def _sockets(listen: Address, secure: TlsAcceptor | None) -> Iterator[_Sockets]:
    """UDP and TCP on one port, TLS on another, for each family that ``listen`` stands for."""
    host, port = listen
    # "::" stands for this machine, whatever the family.
    families = [host, "0.0.0.0"] if host == "::" else [host]
    for tries_left in reversed(range(1 if port else _PORT_TRIES)):
        with ExitStack() as undo:
            sockets = _Sockets([], [], [])
            chosen = port
            try:
                for one in families:
                    transport = undo.enter_context(UdpTransport((one, chosen)))
                    chosen = transport.address[1]
                    sockets.datagrams.append(transport)
                    sockets.addresses.append(transport.address)
                    listener = undo.enter_context(listen_tcp(transport.address))
                    sockets.doors.append(Door("tcp", listener, transport.address, accept_tcp))
                    if secure is not None:
                        at = (one, port + 1 if port else 0)
                        listener = undo.enter_context(listen_tcp(at))
                        at = listener.socket.getsockname()[:2]
                        sockets.doors.append(Door("tls", listener, at, secure.accept))
            except ServerUnreachable:
                if tries_left:
                    continue  # The port is in use for another transport or family.
                raise
            yield sockets
            return
