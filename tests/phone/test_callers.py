"""Whose calls ring: the registrar's, allowed trunks', and optionally strangers'."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from spech import Account, CallFailed, LocalProtocolError, PortRange, open_phone
from spech.phone.callers import AllowedCallers, Callers
from spech.phone.formats import audio_formats
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.description.offer_answer import Negotiator
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire, Peer

from .test_accounts import Registrar

STRANGER = "203.0.113.9"
LOOPBACK = ("127.0.0.1", 0)
PORTS = PortRange(37_400, 37_439)


class Door:
    """A host whose calls ``callers`` judges, on a wire with others that call it."""

    def __init__(self, callers: Callers) -> None:
        self.wire = FakeWire(seed=5)
        self.host = self.wire.peer("198.51.100.1", screen=callers.screen)
        callers.attach(self.host.agent)
        self._peers: dict[str, Peer] = {}
        self.asked: list[int] = []

    def call(self, source: str) -> Session:
        peer = self._peers.get(source) or self.wire.peer(source)
        self._peers[source] = peer
        session = peer.agent.invite(
            Identity(NameAddr(Uri.parse(f"sip:x@{source}")), "x", None, random.Random(1)),
            Uri.parse("sip:bob@198.51.100.1"),
            [peer.flow_to(self.host)],
            lambda number: Negotiator(audio_formats(["PCMU"]), source, 4000, number),
            self.wire.now,
        )
        self.wire.run(1)
        return session

    def status(self, source: str) -> int | None:
        """The status that refuses a call from ``source``, None if it is accepted."""
        ended = self.call(source).ended
        return None if ended is None else ended.status

    def hang_up(self, source: str) -> None:
        """End the calls from ``source``."""
        peer = self._peers[source]
        for session in peer.agent.sessions:
            session.hang_up(self.wire.now)
        peer.flush()
        self.wire.run(1)

    def options(self) -> int:
        """The status of an answer to OPTIONS."""
        peer = self.wire.peer(f"203.0.113.{100 + len(self.asked)}")
        identity = Identity(NameAddr(Uri.parse("sip:x@x")), "x", None, random.Random(1))
        peer.agent.services.request(
            identity,
            "OPTIONS",
            Uri.parse("sip:198.51.100.1"),
            [peer.flow_to(self.host)],
            self.wire.now,
            done=lambda status, response, now: self.asked.append(status),
        )
        peer.flush()
        self.wire.run(1)
        return self.asked[-1]

    def message(self, source: str) -> list[int]:
        """The statuses that answer a text message from ``source``."""
        peer = self._peers.get(source) or self.wire.peer(source)
        self._peers[source] = peer
        statuses: list[int] = []
        peer.agent.services.request(
            Identity(NameAddr(Uri.parse(f"sip:x@{source}")), "x", None, random.Random(1)),
            "MESSAGE",
            Uri.parse("sip:bob@198.51.100.1"),
            [peer.flow_to(self.host)],
            self.wire.now,
            headers=[("Content-Type", "text/plain")],
            body=b"hello",
            done=lambda status, response, now: statuses.append(status),
        )
        self.wire.run(1)
        return statuses

    @property
    def let_in(self) -> int:
        return sum(isinstance(event, events.InviteReceived) for event in self.host.events)


@pytest.mark.parametrize(
    ("allowed", "source", "status"),
    [
        ((), STRANGER, 403),
        ((), "127.0.0.1", None),
        ((), "127.3.4.5", None),
        ("anyone", STRANGER, None),
        ([STRANGER], STRANGER, None),
        (["203.0.113.0/24"], STRANGER, None),
        (["192.0.2.0/24", "2001:db8::/32"], STRANGER, 403),
        # A local proxy may forward anyone's calls, so loopback has to be listed with others.
        (["203.0.113.0/24"], "127.0.0.1", 403),
        (["203.0.113.0/24", "127.0.0.0/8"], "127.3.4.5", None),
        (["127.0.0.1"], "127.0.0.1", None),
        (["127.0.0.1"], "127.0.0.2", 403),
        (["203.0.113.0/24", "0.0.0.0/0"], "127.0.0.1", None),
    ],
)
def test_only_allowed_callers_ring(
    allowed: AllowedCallers, source: str, status: int | None
) -> None:
    door = Door(Callers(allowed))
    assert door.status(source) == status
    assert door.let_in == (status is None)
    assert len(door.host.agent.sessions) == door.let_in


@pytest.mark.parametrize(
    ("allowed", "source"),
    [
        (["203.0.113.9"], "::ffff:203.0.113.9"),
        (["2001:db8::/32"], "2001:db8::7"),
        ((), "::1"),
        ((), "::ffff:127.0.0.1"),
    ],
)
def test_addresses_are_compared_by_value(allowed: AllowedCallers, source: str) -> None:
    assert Callers(allowed).knows(source)


def test_at_most_two_strangers_ring_and_known_callers_still_do() -> None:
    door = Door(Callers(["192.0.2.7"], strangers=2))
    statuses = [door.status(f"203.0.113.{number}") for number in range(10)]
    assert statuses == [None, None] + 8 * [486]
    assert door.status("192.0.2.7") is None
    # A stranger that gives up makes room for the next one.
    door.hang_up("203.0.113.0")
    assert door.status("203.0.113.77") is None


def test_calls_beyond_the_limit_get_503_with_retry_after() -> None:
    door = Door(Callers("anyone", max_calls=2))
    assert [door.status(STRANGER) for _ in range(3)] == [None, None, 503]
    (response,) = [packet.message for packet in door.wire.log if packet.kind == "503 INVITE"]
    assert 5 <= int(response.headers.get("Retry-After") or 0) <= 15
    assert response.to.tag


def test_options_has_the_status_that_a_call_would_have_where_there_is_no_room() -> None:
    callers = Callers("anyone", max_calls=2)
    door = Door(callers)
    assert door.options() == 200
    assert [door.status(STRANGER), door.status("203.0.113.1")] == [None, None]
    assert door.options() == 503
    door.hang_up(STRANGER)
    assert door.options() == 200
    callers.closed = True
    assert door.options() == 503
    assert door.status(STRANGER) == 503


def test_loopback_is_not_a_known_peer_if_others_are_allowed() -> None:
    """Requests from a local proxy are checked like those of strangers."""
    assert Callers().names("127.0.0.1")
    for source in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert not Callers(["203.0.113.9"]).names(source)
    assert Callers(["203.0.113.9", "::1"]).names("::1")


def test_calls_from_the_registrar_ring_and_from_its_neighbor_do_not() -> None:
    callers = Callers()
    door = Door(callers)
    registrar = door.wire.peer("192.0.2.1", screen=Registrar())
    host = door.host
    identity = Identity(NameAddr(Uri.parse("sip:bob@192.0.2.1")), "bob", None, host.agent.rng)
    flow = Flow("udp", host.address, registrar.address)
    host.agent.register(identity, Uri.parse("sip:192.0.2.1"), [flow], door.wire.now)
    door.wire.run(1)
    door._peers["192.0.2.1"] = registrar
    assert door.status("192.0.2.1") is None
    assert door.status("192.0.2.2") == 403


def test_a_refused_source_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    door = Door(Callers())
    for _ in range(5):
        door.call(STRANGER)
    assert [record.message for record in caplog.records if STRANGER in record.message] == [
        f"refused a call or a message from {STRANGER}, which is neither the registrar nor an "
        "allowed caller (logged once)"
    ]


@pytest.mark.parametrize("entry", ["", "a b", "192.0.2.0/33", "sip:trunk@example.org", "-x.org"])
async def test_invalid_allowed_callers_are_refused(entry: str) -> None:
    with pytest.raises(LocalProtocolError, match="neither an address"):
        async with open_phone(listen=LOOPBACK, callers=[entry]):
            pass


async def test_host_names_are_resolved_again(autojump_clock: trio.testing.MockClock) -> None:
    addresses = ["192.0.2.1"]

    async def flows_to(uri: Uri) -> list[Flow]:
        assert uri.host == "trunk.example.org"
        return [Flow("udp", ("192.0.2.9", 5060), (address, 5060)) for address in addresses]

    callers = Callers(["trunk.example.org"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(callers.run, flows_to, None)
        await trio.sleep(1)
        assert callers.knows("192.0.2.1")
        addresses[:] = ["192.0.2.2", "192.0.2.3"]
        await trio.sleep(301)
        assert not callers.knows("192.0.2.1")
        assert callers.knows("192.0.2.3")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("account", [None, Account("sip:bob@192.0.2.1", register=False)])
async def test_the_default_callers_depend_on_the_account(
    account: Account | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone rings where there is no account; otherwise only the account's server."""
    monkeypatch.setattr("spech.phone.callers._is_loopback", lambda source: False)
    async with (
        open_phone(account, listen=LOOPBACK, ports=PORTS) as phone,
        open_phone(listen=LOOPBACK, ports=PORTS) as stranger,
        stranger.call(f"sip:bob@127.0.0.1:{phone.address[1]}") as call,
    ):
        phone.incoming_calls()
        if account is None:
            while call.state != "ringing":
                await call.changed()
        else:
            with pytest.raises(CallFailed) as refused:
                await call.answered(5)
            assert refused.value.status == 403


def test_text_messages_are_taken_from_those_who_may_call() -> None:
    door = Door(Callers(("203.0.113.1",), strangers=1))
    door.host.agent.takes_messages = True
    assert door.message("203.0.113.1") == [200]
    assert door.message(STRANGER) == [403]
    received = [each for each in door.host.events if isinstance(each, events.MessageReceived)]
    assert [each.text for each in received] == ["hello"]
