"""Finding servers (RFC 3263), against a real name server on loopback."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

from spech import ServerUnreachable
from spech.sip.message.uri import Uri
from spech.sip.resolver import Resolver
from spech.sip.transaction.flow import Target

from .name_server import open_name_server, resolver_for

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


def target(transport: str, host: str, port: int) -> tuple[str, tuple[str, int]]:
    return transport, (host, port)


@pytest.mark.parametrize(
    ("uri", "transport", "found"),
    [
        ("sip:192.0.2.9", None, [target("udp", "192.0.2.9", 5060)]),
        ("sip:[2001:db8::9];transport=tcp", None, [target("tcp", "2001:db8::9", 5060)]),
        ("sips:192.0.2.9", None, [target("tls", "192.0.2.9", 5061)]),
        ("sip:192.0.2.9", "wss", [target("wss", "192.0.2.9", 443)]),
        # With a port, SRV is not used (4.1, 4.2).
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
async def test_a_uri_is_resolved_to_its_servers(
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


async def test_a_hostile_zone_is_cheap_and_raises_only_known_errors() -> None:
    """A peer names the host in its Contact, so an attacker may control every byte of the answer."""
    many = 100
    pointers = [
        ("evil.test.", "NAPTR", rf'{at} 1 "s" "SIP+D2U" "" _sip._udp.e{at}.test.')
        for at in range(many)
    ]
    services = [("_sip._udp.srv.test.", "SRV", f"{at} 1 5060 .") for at in range(many)]
    odd = ("odd.test.", "NAPTR", r'1 1 "s" "\255\254" "" x.test.')
    async with open_name_server(
        *pointers, *services, odd, ("odd.test.", "A", "192.0.2.9")
    ) as server:
        resolver = resolver_for(server)
        targets = await resolver.resolve(Uri.parse("sip:odd.test"))
        assert [one.address[0] for one in targets] == ["192.0.2.9"]
        with pytest.raises(ServerUnreachable):
            await resolver.resolve(Uri.parse("sip:evil.test"))
        assert sum(kind == "SRV" and "_udp.e" in name for name, kind in server.asked) <= 8
        with pytest.raises(ServerUnreachable):
            await resolver.resolve(Uri.parse("sip:srv.test"), "udp")
        assert max(len(records) for _, records in resolver._known.values()) <= 64


async def test_srv_weights_are_probabilities() -> None:
    async with open_name_server(*ZONE) as server:
        first: Counter[str] = Counter()
        resolver = resolver_for(server)
        for _ in range(500):
            targets = await resolver.resolve(Uri.parse("sip:weighed.test"))
            assert len(targets) == 2
            first[targets[0].address[0]] += 1
        assert 420 <= first["192.0.2.6"] <= 480


async def test_answers_are_cached_for_their_ttl() -> None:
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


async def test_unknown_hosts_and_hosts_without_service_are_handled() -> None:
    async with open_name_server(*ZONE) as server:
        resolver = resolver_for(server)
        with pytest.raises(ServerUnreachable, match=r"'nowhere\.test' is unknown") as caught:
            await resolver.resolve(Uri.parse("sip:nowhere.test"))
        assert caught.value.unknown_host
        # "." means that there is no service; only the address remains (RFC 3263 4.2).
        targets = await resolver.resolve(Uri.parse("sip:closed.test"), "udp")
        assert [one.address[0] for one in targets] == ["192.0.2.8"]


@pytest.mark.parametrize("address", [True, False])
async def test_the_address_of_a_host_is_used_only_without_srv_records(
    address: bool,
) -> None:
    """RFC 3263 4.2: a failing name server does not mean that there is none."""
    records = [("example.test.", "A", "192.0.2.1")] if address else []
    async with open_name_server(*records) as server:
        resolver = resolver_for(server)
        server.failing = {"SRV"}
        for _ in range(2):
            with pytest.raises(ServerUnreachable, match="did not answer"):
                await resolver.resolve(Uri.parse("sip:example.test"))
        server.failing = set()  # The failure was not cached.
        if address:
            (found,) = await resolver.resolve(Uri.parse("sip:example.test"))
            assert found.address == ("192.0.2.1", 5060)


async def test_a_failing_name_server_does_not_make_a_host_unknown() -> None:
    async with open_name_server(("example.test.", "TXT", "x")) as server:
        resolver = resolver_for(server)
        server.failing = {"A"}
        with pytest.raises(ServerUnreachable, match=r"did not answer for 'example\.test'"):
            await resolver.resolve(Uri.parse("sip:example.test"))
        # One kind of transport is enough.
        resolver = resolver_for(server)
        server.failing = {"NAPTR", "AAAA"}
        server.records = [
            ("_sip._tcp.example.test.", "SRV", "1 1 5070 example.test."),
            ("example.test.", "A", "192.0.2.1"),
        ]
        (found,) = await resolver.resolve(Uri.parse("sip:example.test"))
        assert (found.transport, found.address) == ("tcp", ("192.0.2.1", 5070))


async def test_a_silent_name_server_times_out(autojump_clock: trio.testing.MockClock) -> None:
    async with open_name_server() as server:
        server.silent = True
        resolver = resolver_for(server)
        with pytest.raises(ServerUnreachable, match="did not answer") as caught:
            await resolver.resolve(Uri.parse("sip:plain.test"))
        assert caught.value.unknown_host
        assert trio.current_time() <= 4.1


async def test_the_hosts_file_takes_precedence(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 pbx # six\n192.0.2.77  pbx pbx.office\nbroken line\n")
    resolver = Resolver(random.Random(1), name_servers=[("127.0.0.1", 1)], hosts=hosts)
    targets = await resolver.resolve(Uri.parse("sip:PBX.office"), "tcp")
    assert targets == [Target("tcp", ("192.0.2.77", 5060), "PBX.office")]
    targets = await resolver.resolve(Uri.parse("sip:pbx"))
    assert [one.address[0] for one in targets] == ["192.0.2.77", "::1"]
