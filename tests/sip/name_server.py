"""A name server on loopback with the records of a test."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import trio

from spech.addresses import Address
from spech.sip.resolver import Resolver


class NameServer:
    """``records`` holds lines of a zone, such as ``("example.test.", "A", "192.0.2.1")``."""

    def __init__(self, address: Address, records: list[tuple[str, str, str]]) -> None:
        self.address = address
        self.records = records
        self.ttl = 60
        #: Silent servers answer nothing. Kinds of records that fail are answered with SERVFAIL.
        self.silent = False
        self.failing: set[str] = set()
        #: The number of queries, by name and type.
        self.asked: Counter[tuple[str, str]] = Counter()

    def answer(self, wire: bytes) -> bytes | None:
        """The answer to a query, or None for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        if self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if kind in self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        texts = [text for owner, one, text in self.records if (owner, one) == (name, kind)]
        if texts:
            response.answer.append(dns.rrset.from_text(name, self.ttl, "IN", kind, *texts))
        elif not any(owner == name for owner, _, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()


@asynccontextmanager
async def open_name_server(*records: tuple[str, str, str]) -> AsyncIterator[NameServer]:
    """Serve ``records`` over UDP while the block runs."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as bound:
        await bound.bind(("127.0.0.1", 0))
        server = NameServer(bound.getsockname(), list(records))

        async def serve() -> None:
            while True:
                wire, source = await bound.recvfrom(4096)
                answer = server.answer(wire)
                if answer is not None:
                    await bound.sendto(answer, source)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield server
            nursery.cancel_scope.cancel()


def resolver_for(server: NameServer, seed: int = 1) -> Resolver:
    return Resolver(
        random.Random(seed), name_servers=[server.address], hosts=Path("/nonexistent/hosts")
    )
