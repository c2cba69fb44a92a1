"""SIP over UDP: one socket for all peers (RFC 3261 18)."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Set
from types import TracebackType
from typing import Final

import trio

from spech.addresses import Address
from spech.errors import ServerUnreachable
from spech.sip.transaction.flow import Flow, Outgoing, Target, host_port
from spech.sip.transport import Arrival, Pump
from spech.sip.transport.hosts import LocalHosts, family

#: The largest UDP payload; anything above cannot arrive.
_LARGEST: Final = 65_535
#: Datagrams handled in a row: a flood holds the event loop for a few milliseconds only.
_BATCH: Final = 16
#: Datagrams read at one wake-up, and those of them from strangers that are handled. Reading costs
#: little, handling much; a machine that cannot keep up serves known peers first.
_MOST_READ: Final = 512
_MOST_OF_STRANGERS: Final = 64
_RECEIVE_BUFFER: Final = 1 << 21
#: Linux queues ICMP errors with the datagram that each is about (ip(7), ipv6(7)). The socket module
#: does not name these numbers: level, option, and ee_origin of struct sock_extended_err.
_ERROR_QUEUE: Final = {
    socket.AF_INET: (socket.IPPROTO_IP, 11, 2),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 25, 3),
}
_MSG_ERRQUEUE: Final = 0x2000
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
#: Errors read from that queue at one wake-up.
_MOST_ERRORS: Final = 64


class UdpTransport:
    """One UDP socket. A synchronous context manager; leaving it closes the socket.

    Raises:
        ServerUnreachable: the local address cannot be bound.
    """

    def __init__(self, listen: Address) -> None:
        self._family = family(listen[0])
        self._socket = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with contextlib.suppress(OSError):  # BSD refuses what Linux cuts down.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            if self._family == socket.AF_INET6:
                # Else IPv4 peers show up under IPv6 addresses that they do not know themselves.
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if sys.platform == "linux":
                level, option, _ = _ERROR_QUEUE[self._family]
                self._socket.setsockopt(level, option, 1)
            self._socket.bind(listen)
        except OSError as error:
            self._socket.close()
            raise ServerUnreachable(
                f"Cannot listen on {host_port(listen)}: {error.strerror}."
            ) from error
        host, port = self._socket.getsockname()[:2]
        #: Where it listens; the host may be the wildcard.
        self.address: Address = (host, port)
        self._hosts = LocalHosts(host)
        #: Whether the error queue may hold something.
        self._errors_wait = False

    def __enter__(self) -> UdpTransport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def reaches(self, target: Target) -> bool:
        """UDP to addresses of its own family."""
        return target.transport == "udp" and family(target.address[0]) == self._family

    def flow_to(self, target: Target) -> Flow:
        """The flow to ``target``, with the address of ours that it can answer to."""
        return self._flow(target.address)

    def _flow(self, remote: Address) -> Flow:
        return Flow("udp", (self._hosts.towards(remote[0]), self.address[1]), remote)

    def send(self, outgoing: Outgoing) -> bool:
        """Send at once. False when the system refuses; a full buffer counts as lost on the way."""
        # The first attempt may report an earlier datagram's ICMP error, and then sends nothing.
        for _ in range(2):
            try:
                self._socket.sendto(outgoing.data, outgoing.flow.remote)
            except BlockingIOError:
                return True
            except OSError:
                self._errors_wait = True
            else:
                return True
        return False

    @property
    def pending(self) -> bool:
        """Never: a datagram leaves at once."""
        return False

    def moved(self, flow: Flow) -> bool:
        """See :class:`~spech.sip.transport.Transport`."""
        return self._hosts.changed(flow.remote[0], flow.local[0])

    def share(self, flow: Flow, port: int | None) -> None:
        """There is but one socket for all."""

    @property
    def open_flows(self) -> Set[Flow]:
        """See :class:`~spech.sip.transport.Transport`."""
        return frozenset()

    def keep_alive(self, flow: Flow) -> None:
        """An empty line, which every SIP server drops."""
        self.send(Outgoing(b"\r\n", flow))

    async def run(self, pump: Pump) -> None:
        """Carry messages until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            arrivals = self._read(pump)
            if self._errors_wait or not arrivals:
                self._read_errors(pump)
            for start in range(0, len(arrivals), _BATCH):
                if start:
                    await trio.lowlevel.checkpoint()
                pump.receive_arrivals(arrivals[start : start + _BATCH])

    def _read(self, pump: Pump) -> list[Arrival]:
        """What waits in the socket: all of known peers, then the oldest of strangers."""
        known: list[tuple[bytes, Address]] = []
        strangers: list[tuple[bytes, Address]] = []
        for _ in range(_MOST_READ):
            try:
                data, (host, port, *_) = self._socket.recvfrom(_LARGEST)
            except BlockingIOError:
                break
            except OSError:
                self._errors_wait = True  # An ICMP error for something that we sent.
                continue
            if data.strip(b"\r\n\x00"):  # Else a keepalive.
                (known if pump.is_known(host) else strangers).append((data, (host, port)))
        if len(strangers) > _MOST_OF_STRANGERS:
            pump.shed(len(strangers) - _MOST_OF_STRANGERS)
        read = known + strangers[:_MOST_OF_STRANGERS]
        return [(data, self._flow(remote)) for data, remote in read]

    def _read_errors(self, pump: Pump) -> None:
        """Report closed ports. Other ICMP errors may pass, so the timers deal with them."""
        self._errors_wait = False
        if sys.platform != "linux":
            return
        level, option, origin = _ERROR_QUEUE[self._family]
        for _ in range(_MOST_ERRORS):
            try:
                quoted, ancillary, _, (host, port, *_) = self._socket.recvmsg(
                    _LARGEST, 512, _MSG_ERRQUEUE
                )
            except OSError:
                return  # It is empty.
            for at, kind, data in ancillary:
                if (at, kind) == (level, option) and len(data) >= _EXTENDED_ERROR.size:
                    code, source, *_ = _EXTENDED_ERROR.unpack_from(data)
                    if code == errno.ECONNREFUSED and source == origin:
                        pump.refused(quoted, (host, port))
        self._errors_wait = True
