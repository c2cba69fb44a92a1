"""A STUN server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from spech.addresses import Address
from spech.errors import RemoteProtocolError
from spech.rtp import stun
from spech.rtp.stun import Kind


class StunServer:
    """Answers Binding requests (RFC 8489 section 6.3).

    Attributes:
        uri: the ``stun`` argument for :func:`spech.open_phone`.
        asked: the source of each request, in order.
        sees: maps the source to the address to report, as a NAT would.
    """

    def __init__(self, address: Address) -> None:
        self.uri = "stun:{}:{}".format(*address)
        self.asked: list[Address] = []
        self.sees: Callable[[Address], Address] = lambda source: source

    def answer(self, data: bytes, source: Address) -> bytes | None:
        """The response to a datagram, None if it is not a request."""
        try:
            message = stun.parse(data)
        except RemoteProtocolError:
            return None
        if message.kind is not Kind.REQUEST:
            return None
        self.asked.append(source)
        seen = stun.mapped(self.sees(source), message.transaction)
        return stun.build(Kind.SUCCESS, message.transaction, [seen])


@asynccontextmanager
async def open_stun_server(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[StunServer]:
    """Serve on a UDP port, by default any free one, until the block ends."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as listening:
        await listening.bind((host, port))
        server = StunServer(listening.getsockname())

        async def serve() -> None:
            while True:
                data, source = await listening.recvfrom(2048)
                answer = server.answer(data, source)
                if answer is not None:
                    await listening.sendto(answer, source)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield server
            nursery.cancel_scope.cancel()
