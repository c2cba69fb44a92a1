"""SIP's sockets. Each transport has ``send``, ``receive``, ``flow_to`` and ``close``.

UDP is here; a stream transport joins by the same four methods and frames messages with
:mod:`spech.sip.framing`.
"""

from __future__ import annotations

import ipaddress
import socket
from types import TracebackType
from typing import Final

import trio

from spech.errors import ServerUnreachable
from spech.sip.flow import Address, Flow, Outgoing, host_port

#: The largest UDP payload; anything above cannot arrive.
_LARGEST: Final = 65_535
#: Datagrams taken at one wake-up, so that a flood cannot hold the event loop.
_BATCH: Final = 64
_RECEIVE_BUFFER: Final = 1 << 21


class UdpTransport:
    """One UDP socket for all peers. A synchronous context manager; leaving it closes the socket.

    Raises:
        ServerUnreachable: the local address cannot be bound.
    """

    name: Final = "udp"

    def __init__(self, listen: Address) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        try:
            self._socket.bind(listen)
        except OSError as error:
            self._socket.close()
            raise ServerUnreachable(
                f"Cannot listen on {host_port(listen)}: {error.strerror}."
            ) from error
        host, port = self._socket.getsockname()
        #: Where it listens; the host may be the wildcard.
        self.address: Address = (host, port)
        self._local_hosts: dict[str, str] = {}

    def __enter__(self) -> UdpTransport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def flow_to(self, remote: Address) -> Flow:
        """The flow to ``remote``, with the address of ours that it can answer to."""
        host, port = self.address
        if ipaddress.ip_address(host).is_unspecified:
            host = self._local_hosts.get(remote[0]) or self._find_local_host(remote[0])
        return Flow(self.name, (host, port), remote)

    def _find_local_host(self, remote: str) -> str:
        # Connecting a datagram socket sends nothing; it asks the routing table.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((remote, 9))
                host = str(probe.getsockname()[0])
            except OSError:
                host = "127.0.0.1"
        if len(self._local_hosts) > 1000:
            self._local_hosts.clear()
        self._local_hosts[remote] = host
        return host

    def send(self, outgoing: Outgoing) -> bool:
        """Send at once. False when the system refuses; a full buffer counts as lost on the way."""
        try:
            self._socket.sendto(outgoing.data, outgoing.flow.remote)
        except (BlockingIOError, ConnectionRefusedError):
            return True
        except OSError:
            return False
        return True

    async def receive(self) -> list[tuple[bytes, Flow]]:
        """Wait for datagrams and take what is there, at most 64. Cancelling loses nothing."""
        while True:
            batch: list[tuple[bytes, Flow]] = []
            while len(batch) < _BATCH:
                try:
                    data, remote = self._socket.recvfrom(_LARGEST)
                except BlockingIOError:
                    break
                except ConnectionError:
                    continue  # An ICMP error for something we sent; the timers know what to do.
                if data.strip(b"\r\n\x00"):  # Else a keepalive.
                    batch.append((data, self.flow_to((remote[0], remote[1]))))
            if batch:
                await trio.lowlevel.checkpoint()
                return batch
            await trio.lowlevel.wait_readable(self._socket)
