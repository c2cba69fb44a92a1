"""Finding servers (RFC 3263), against a real name server on loopback."""

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
import pytest
import trio
import trio.testing

from spech import ServerUnreachable
from spech.addresses import Address
from spech.sip.message.uri import Uri
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Target

ZONE = (
    ("full.test.", "NAPTR", '20 50 "s" "SIP+D2U" "" _sip._udp.full.test.'),
    ("full.test.", "NAPTR", '10 50 "s" "SIPS+D2T" "" _sips._tcp.full.test.'),
    ("full.test.", "NAPTR", '5 50 "u" "E2U+sip" "!x!y!" .'),
    ("_sips._tcp.full.test.", "SRV", "10 0 5061 secure.full.test."),
    ("_sip._udp.full.test.", "SRV", "20 0 5060 spare.full.test."),
    ("_sip._udp.full.test.", "SRV", "10 0 5070 first.full.test."),
    ("secure.full.test.", "A", "192.0.2.1"),
    ("first.full.test.", "A", "192.0.2.2"),
    ("first.full.test.", "AAAA", "2001:db8::2"),
    ("spare.full.test.", "A", "192.0.2.3"),
    ("_sip._tcp.half.test.", "SRV", "1 1 5080 half.test."),
    ("half.test.", "A", "192.0.2.4"),
    ("plain.test.", "A", "192.0.2.5"),
    ("_sip._udp.weighed.test.", "SRV", "1 90 5060 heavy.test."),
    ("_sip._udp.weighed.test.", "SRV", "1 10 5060 light.test."),
    ("heavy.test.", "A", "192.0.2.6"),
    ("light.test.", "A", "192.0.2.7"),
    ("_sip._udp.closed.test.", "SRV", "0 0 0 ."),
    ("closed.test.", "A", "192.0.2.8"),
)


class NameServer:
    """``records`` holds lines of a zone, such as ``("example.test.", "A", "192.0.2.1")``."""

    def __init__(self, address: Address, records: list[tuple[str, str, str]]) -> None:
        self.address = address
        self.records = records
        self.ttl = 60
        #: Silent servers answer nothing.
        self.silent = False
        #: How often what was asked for.
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


def target(transport: str, host: str, port: int) -> tuple[str, tuple[str, int]]:
    return transport, (host, port)


@pytest.mark.parametrize(
    ("uri", "transport", "found"),
    [
        ("sip:192.0.2.9", None, [target("udp", "192.0.2.9", 5060)]),
        ("sip:[2001:db8::9];transport=tcp", None, [target("tcp", "2001:db8::9", 5060)]),
        ("sips:192.0.2.9", None, [target("tls", "192.0.2.9", 5061)]),
        ("sip:192.0.2.9", "wss", [target("wss", "192.0.2.9", 443)]),
        # A port leaves nothing to SRV (4.1, 4.2).
        ("sip:full.test:5099", None, []),
        ("sip:first.full.test:5099", None, [
            target("udp", "192.0.2.2", 5099),
            target("udp", "2001:db8::2", 5099),
        ]),
        # NAPTR's order comes first, then SRV's priority.
        ("sip:full.test", None, [
            target("tls", "192.0.2.1", 5061),
            target("udp", "192.0.2.2", 5070),
            target("udp", "2001:db8::2", 5070),
            target("udp", "192.0.2.3", 5060),
        ]),
        ("sips:full.test", None, [target("tls", "192.0.2.1", 5061)]),
        ("sip:full.test;transport=UDP", "tcp", [
            target("udp", "192.0.2.2", 5070),
            target("udp", "2001:db8::2", 5070),
            target("udp", "192.0.2.3", 5060),
        ]),
        # No NAPTR: SRV of every transport; no SRV: the address.
        ("sip:half.test", None, [target("tcp", "192.0.2.4", 5080)]),
        ("sip:plain.test", None, [target("udp", "192.0.2.5", 5060)]),
        ("sip:plain.test", "tls", [target("tls", "192.0.2.5", 5061)]),
        ("sip:localhost", None, [target("udp", "127.0.0.1", 5060), target("udp", "::1", 5060)]),
    ],
)  # fmt: skip
async def test_where_a_uri_leads(
    uri: str, transport: str | None, found: list[tuple[str, tuple[str, int]]]
) -> None:
    async with open_name_server(*ZONE) as server:
        resolver = resolver_for(server)
        parsed = Uri.parse(uri)
        if not found:
            with pytest.raises(ServerUnreachable):
                await resolver.resolve(parsed, transport)
            return
        targets = await resolver.resolve(parsed, transport)
        assert targets == [Target(*one, parsed.host) for one in found]


async def test_weights_are_chances() -> None:
    async with open_name_server(*ZONE) as server:
        first: Counter[str] = Counter()
        resolver = resolver_for(server)
        for _ in range(500):
            targets = await resolver.resolve(Uri.parse("sip:weighed.test"))
            assert len(targets) == 2
            first[targets[0].address[0]] += 1
        assert 420 <= first["192.0.2.6"] <= 480


async def test_answers_are_remembered_for_as_long_as_they_say() -> None:
    async with open_name_server(*ZONE) as server:
        resolver = resolver_for(server)
        uri = Uri.parse("sip:plain.test:5060")
        for _ in range(3):
            await resolver.resolve(uri)
        assert server.asked["plain.test.", "A"] == 1
        assert server.asked["plain.test.", "AAAA"] == 1
        server.ttl = 0
        for _ in range(3):
            await resolver.resolve(Uri.parse("sip:half.test:5060"))
        assert server.asked["half.test.", "A"] == 3


async def test_an_unknown_host_and_one_that_offers_nothing() -> None:
    async with open_name_server(*ZONE) as server:
        resolver = resolver_for(server)
        with pytest.raises(ServerUnreachable, match=r"'nowhere\.test' is unknown") as caught:
            await resolver.resolve(Uri.parse("sip:nowhere.test"))
        assert caught.value.unknown_host
        # "." says that the service is not there; the address is what is left (RFC 3263 4.2).
        targets = await resolver.resolve(Uri.parse("sip:closed.test"), "udp")
        assert [one.address[0] for one in targets] == ["192.0.2.8"]


async def test_a_silent_name_server_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_name_server() as server:
        server.silent = True
        resolver = resolver_for(server)
        with pytest.raises(ServerUnreachable, match="did not answer") as caught:
            await resolver.resolve(Uri.parse("sip:plain.test"))
        assert caught.value.unknown_host
        assert trio.current_time() <= 4.1


async def test_the_file_of_hosts_comes_first(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 pbx # six\n192.0.2.77  pbx pbx.office\nbroken line\n")
    resolver = Resolver(random.Random(1), name_servers=[("127.0.0.1", 1)], hosts=hosts)
    targets = await resolver.resolve(Uri.parse("sip:PBX.office"), "tcp")
    assert targets == [Target("tcp", ("192.0.2.77", 5060), "PBX.office")]
    targets = await resolver.resolve(Uri.parse("sip:pbx"))
    assert [one.address[0] for one in targets] == ["192.0.2.77", "::1"]
