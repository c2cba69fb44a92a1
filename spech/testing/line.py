"""A line with faults between a phone and a PBX: signalling and sound, in both directions.

    async with open_line(asterisk.account("alice"), loss=0.05, delay=0.08) as line:
        async with open_phone(line.account) as phone, phone.call("600") as call:
            ...
            line.network = DEAD

The phone registers at the line, which passes everything on and takes the place of each end for the
other, so no privilege and no other program is needed. UDP on IPv4 only.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import trio

from spech.addresses import Address
from spech.phone.account import Account
from spech.sip.message.uri import Uri
from spech.testing.relay import Network, Path

#: A line on which nothing arrives.
DEAD: Final = Network(loss=1.0)

_LOOPBACK: Final = "127.0.0.1"
_LARGEST: Final = 65536
#: How many pairs of ports are tried.
_TRIES: Final = 100
_MEDIA: Final = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)
_RTCP: Final = re.compile(rb"^a=rtcp:(\d+)", re.MULTILINE)
_HOST: Final = re.compile(rb"^c=IN IP4 ([0-9.]+)", re.MULTILINE)
_CALL_ID: Final = re.compile(rb"^(?:Call-ID|i)\s*:\s*(\S+)", re.MULTILINE | re.IGNORECASE)
_LENGTH: Final = re.compile(rb"^((?:Content-Length|l)\s*:\s*)\d+", re.MULTILINE | re.IGNORECASE)
#: A digest covers the URI as the phone wrote it.
_SIGNED: Final = re.compile(rb"^(?:Proxy-)?Authorization\s*:", re.IGNORECASE)

Side = Literal["phone", "pbx"]


@dataclass
class _Ends:
    """Two sockets of the line: what arrives at one for an end is sent to the other end.

    The phone knows ``phone`` as the PBX, and the PBX knows ``pbx`` as the phone.
    """

    phone: trio.socket.SocketType
    pbx: trio.socket.SocketType
    #: Where the two ends are, once that is known.
    addresses: dict[Side, Address] = field(default_factory=dict)

    def at(self, side: Side) -> trio.socket.SocketType:
        return self.phone if side == "phone" else self.pbx


class FaultyLine:
    """A line in use. Made by :func:`open_line`.

    Attributes:
        account: the account to open the phone with.
        lost: datagrams that were dropped on purpose, by the end that sent them.
        carried: datagrams that were sent on.
    """

    def __init__(
        self, account: Account, network: Network, seed: int, nursery: trio.Nursery, stack: ExitStack
    ) -> None:
        self.account = account
        self.lost: dict[Side, int] = {"phone": 0, "pbx": 0}
        self.carried: dict[Side, int] = {"phone": 0, "pbx": 0}
        self._rng = random.Random(seed)
        self._network = network
        self._nursery = nursery
        self._stack = stack
        self._signalling: _Ends
        self._media: dict[bytes, tuple[_Ends, _Ends]] = {}

    @property
    def network(self) -> Network:
        """The faults of the line, the same in both directions. Setting it takes effect at once."""
        return self._network

    @network.setter
    def network(self, network: Network) -> None:
        self._network = network

    async def _open(self, pbx: Address) -> None:
        rtp, _ = await self._sockets()
        self._signalling = rtp
        rtp.addresses["pbx"] = pbx
        port = rtp.phone.getsockname()[1]
        uri = Uri("sip", self.account.uri.user, _LOOPBACK, port)
        self.account = replace(self.account, address=str(uri), transport="udp")
        for side in ("phone", "pbx"):
            self._nursery.start_soon(self._carry, rtp, side, self._translate)

    async def _sockets(self) -> tuple[_Ends, _Ends]:
        """Sockets on even ports for both ends, and those on the ports above."""
        found = []
        for _ in range(2):
            pair = await self._pair()
            found.append([self._stack.enter_context(sock) for sock in pair])
        (phone, phone_above), (pbx, pbx_above) = found
        return _Ends(phone, pbx), _Ends(phone_above, pbx_above)

    async def _pair(self) -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
        for _ in range(_TRIES):
            lower, upper = (trio.socket.socket(type=trio.socket.SOCK_DGRAM) for _ in range(2))
            try:
                await lower.bind((_LOOPBACK, 0))
                port = lower.getsockname()[1]
                if port % 2 == 0:
                    await upper.bind((_LOOPBACK, port + 1))
                    return lower, upper
            except OSError:
                pass  # The port above is in use.
            lower.close()
            upper.close()
        raise OSError("no free pair of ports")

    # ------------------------------------------------------------------ packets

    async def _carry(
        self,
        ends: _Ends,
        side: Side,
        translate: Callable[[bytes, Side], Awaitable[bytes]] | None = None,
    ) -> None:
        """Carry what the end on ``side`` sends to the other one."""
        other: Side = "pbx" if side == "phone" else "phone"
        network, path = self._network, Path(self._network, self._rng)
        while True:
            datagram, source = await ends.at(side).recvfrom(_LARGEST)
            if translate is not None:
                ends.addresses[side] = source
                datagram = await translate(datagram, side)
            if self._network is not network:
                network, path = self._network, Path(self._network, self._rng)
            now = trio.current_time()
            arrivals = path.arrivals(now)
            self.lost[side] += not arrivals
            self.carried[side] += len(arrivals)
            for arrival in arrivals:
                if arrival <= now:
                    await self._deliver(ends, other, datagram, now)
                else:
                    self._nursery.start_soon(self._deliver, ends, other, datagram, arrival)

    async def _deliver(self, ends: _Ends, side: Side, datagram: bytes, at: float) -> None:
        await trio.sleep_until(at)
        if side in ends.addresses:
            await ends.at(side).sendto(datagram, ends.addresses[side])

    # ------------------------------------------------------------------ messages

    async def _translate(self, message: bytes, side: Side) -> bytes:
        """A message with the addresses that the other end knows."""
        head, blank, body = message.partition(b"\r\n\r\n")
        if not blank or "phone" not in self._signalling.addresses:
            return message
        call = _CALL_ID.search(head)
        if call is not None and _MEDIA.search(body):
            body = await self._translate_media(call[1], body, side)
        lines = [
            line if _SIGNED.match(line) else self._translate_line(line, side)
            for line in head.split(b"\r\n")
        ]
        head = _LENGTH.sub(rb"\g<1>%d" % len(body), b"\r\n".join(lines))
        return head + blank + body

    def _translate_line(self, line: bytes, side: Side) -> bytes:
        ends = self._signalling
        for own, known in (
            (ends.addresses["phone"], ends.pbx.getsockname()),
            (ends.addresses["pbx"], ends.phone.getsockname()),
        ):
            # What the phone writes of itself is replaced by what the PBX knows, and vice versa.
            inward = (own is ends.addresses["phone"]) is (side == "phone")
            before, after = (own, known) if inward else (known, own)
            line = re.sub(
                rb"%s:%d(?!\d)" % (re.escape(before[0].encode()), before[1]),
                b"%s:%d" % (after[0].encode(), after[1]),
                line,
            )
            line = re.sub(rb"(?<=rport=)%d(?!\d)" % before[1], b"%d" % after[1], line)
        return line

    async def _translate_media(self, call: bytes, body: bytes, side: Side) -> bytes:
        """A session description with the ports of the line for the sound of the call."""
        if call not in self._media:
            self._media[call] = await self._sockets()
            for ends in self._media[call]:
                for end in ("phone", "pbx"):
                    self._nursery.start_soon(self._carry, ends, end)
        host, port = _HOST.search(body), _MEDIA.search(body)
        if host is None or port is None or port[1] == b"0":
            return body
        rtp, rtcp = self._media[call]
        rtp.addresses[side] = host[1].decode(), int(port[1])
        above = _RTCP.search(body)
        rtcp.addresses[side] = host[1].decode(), int(above[1] if above else port[1]) + (not above)
        # The other end sends to the socket that it knows as this one.
        other: Side = "pbx" if side == "phone" else "phone"
        body = _MEDIA.sub(b"m=audio %d " % rtp.at(other).getsockname()[1], body)
        body = _RTCP.sub(b"a=rtcp:%d" % rtcp.at(other).getsockname()[1], body)
        return _HOST.sub(b"c=IN IP4 " + _LOOPBACK.encode(), body)


@asynccontextmanager
async def open_line(
    account: Account,
    *,
    loss: float = 0.0,
    delay: float = 0.0,
    jitter: float = 0.0,
    seed: int = 1,
) -> AsyncIterator[FaultyLine]:
    """A line to the PBX of ``account`` for the time of an ``async with`` block.

    Args:
        account: at a PBX on UDP and IPv4, with a numeric address.
        loss: the share of datagrams that is lost, 0 to 1.
        delay: in seconds, in each direction.
        jitter: the largest additional delay in seconds.
        seed: of the randomness.

    Raises:
        OSError: no port is free.
    """
    network = Network(loss=loss, delay=delay, jitter=jitter)
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            line = FaultyLine(account, network, seed, nursery, stack)
            await line._open((account.uri.host, account.uri.port or 5060))
            yield line
            nursery.cancel_scope.cancel()
