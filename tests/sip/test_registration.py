"""Registrations against a scripted registrar, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.registration import Registration, State
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire, Peer

from .conftest import media
from .registrar import Registrar

Answer = Callable[[Request, Flow, float], Response | None]


@pytest.fixture
def registrar() -> Registrar:
    return Registrar()


def start(
    registrar: Answer, password: str | None = None, wire: FakeWire | None = None
) -> tuple[FakeWire, Peer, Registration]:
    wire = wire or FakeWire(seed=2)
    alice = wire.peer("10.0.0.1")
    server = wire.peer("10.0.0.9", screen=registrar)
    identity = Identity(
        NameAddr(Uri.parse("sip:alice@10.0.0.9")), "alice", password, alice.agent.rng
    )
    registration = alice.agent.register(
        identity, Uri.parse("sip:10.0.0.9"), [alice.flow_to(server)], wire.now
    )
    wire.run(2)
    return wire, alice, registration


def test_it_registers_refreshes_and_is_removed(registrar: Registrar) -> None:
    wire, alice, registration = start(registrar)
    assert registration.state is State.REGISTERED
    first, request = registrar.seen[0]
    assert registration.expires_at == pytest.approx(first + 300, abs=0.1)
    wire.run(300)
    second, refresh = registrar.seen[1]
    assert 0.7 * 300 <= second - first <= 0.86 * 300
    assert refresh.call_id == request.call_id  # RFC 3261 10.2.4
    assert refresh.cseq.number == request.cseq.number + 1
    alice.agent.close(wire.now)
    wire.run(60)
    assert registrar.seen[-1][1].expires == 0
    assert registration.state is State.REMOVED
    assert alice.agent.get_timer() is None


def test_the_right_password_and_the_reuse_of_the_nonce(registrar: Registrar) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "secret")
    assert registration.state is State.REGISTERED
    assert len(registrar.seen) == 2
    registrar.digest.lifetime = 1000
    wire.run(270)
    assert len(registrar.seen) == 3  # The refresh needed no second round.
    assert "nc=00000002" in (registrar.seen[2][1].headers.get("Authorization") or "")


def test_a_stale_nonce_is_replaced_without_asking_anybody(registrar: Registrar) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "secret")
    wire.run(270)  # The nonce lives 60 s.
    assert registration.state is State.REGISTERED
    assert len(registrar.seen) == 4


def test_a_password_that_was_never_right_is_refused_twice_and_not_tried_again(
    registrar: Registrar,
) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "guess")
    assert (registration.state, registration.status) == (State.FAILED, 401)
    assert registration.answered
    wire.run(4000)
    # Without credentials, with them, and with them for another nonce (a cluster may want that).
    assert len(registrar.seen) == 3


def test_an_interval_too_brief_is_lengthened(registrar: Registrar) -> None:
    registrar.least = 600
    registrar.granted = 600
    _, _, registration = start(registrar)
    assert registration.state is State.REGISTERED
    assert [request.expires for _, request in registrar.seen] == [300, 600]


def test_silence_fails_after_timer_f_and_is_tried_again(registrar: Registrar) -> None:
    wire = FakeWire(seed=4, loss=1.0)
    wire, _, registration = start(registrar, wire=wire)
    wire.run(31)
    assert (registration.state, registration.status) == (State.FAILED, 408)
    assert not registration.answered
    wire.loss = 0.0
    wire.run(10)
    assert registration.state is State.REGISTERED


def test_behind_a_nat_the_address_that_was_seen_is_bound(registrar: Registrar) -> None:
    wire = FakeWire(seed=6)
    alice = wire.peer("10.0.0.1")
    server = wire.peer("10.0.0.9", agent=False)
    identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.9")), "alice", None, alice.agent.rng)
    registration = alice.agent.register(
        identity, Uri.parse("sip:10.0.0.9"), [alice.flow_to(server)], wire.now
    )

    def answer(method: str = "REGISTER") -> Request:
        wire.run(0.1)
        request = server.take(method)
        assert isinstance(request, Request)
        via = request.via.with_parameter("received", "198.51.100.7").with_parameter("rport", "4321")
        seen = request.replace(headers=request.headers.set("Via", str(via)))
        contacts = [("Contact", value) for value in request.headers.values("Contact")]
        routes = [("Service-Route", "<sip:10.0.0.9;lr>")]
        server.send(response_to(seen, 200, headers=[*contacts[:1], *routes]), alice)
        wire.run(0.1)
        return request

    assert answer().headers.values("Contact") == ["<sip:alice@10.0.0.1:5060>"]
    assert registration.state is State.REGISTERING
    assert answer().headers.values("Contact") == [
        "<sip:alice@198.51.100.7:4321>",
        "<sip:alice@10.0.0.1:5060>;expires=0",
    ]
    assert registration.state is State.REGISTERED
    flows = [alice.flow_to(server)]
    alice.agent.invite(identity, Uri.parse("sip:bob@10.0.0.9"), flows, media("10.0.0.1"), wire.now)
    wire.run(0.1)
    invite = server.take("INVITE")
    assert invite.headers.get("Contact") == "<sip:alice@198.51.100.7:4321>"
    assert invite.headers.get_all("Route") == ["<sip:10.0.0.9;lr>"]  # RFC 3608


def test_the_registrar_says_when_to_come_back() -> None:
    seen: list[float] = []

    def busy(request: Request, flow: Flow, now: float) -> Response:
        seen.append(now)
        return response_to(request, 503, headers=[("Retry-After", "100 (lunch);duration=9")])

    wire, _, registration = start(busy)
    assert registration.state is State.FAILED
    wire.run(130)
    assert len(seen) == 2
    assert 100 <= seen[1] - seen[0] <= 121


def test_a_phone_names_itself_for_good(registrar: Registrar) -> None:
    wire = FakeWire(seed=2)
    alice = wire.peer("10.0.0.1")
    server = wire.peer("10.0.0.9", screen=registrar)
    identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.9")), "alice", None, alice.agent.rng)
    urn = "urn:uuid:5c2d8f7e-0000-5000-8000-000000000000"
    alice.agent.register(
        identity,
        Uri.parse("sip:10.0.0.9"),
        [alice.flow_to(server)],
        wire.now,
        instance=urn,
    )
    wire.run(1)
    contact = registrar.seen[0][1].contact
    assert contact is not None
    assert contact.parameter("+sip.instance") == f"<{urn}>"
    assert contact.parameter("reg-id") == "1"
    assert "outbound" in registrar.seen[0][1].headers.values("Supported")


@pytest.mark.parametrize(
    ("contacts", "header", "granted"),
    [
        # Rewritten on the way, and known by its instance or not at all.
        (['<sip:alice@192.0.2.9>;expires=60;+sip.instance="<urn:x>"'], None, 60),
        (["<sip:alice@192.0.2.9>;expires=60"], None, 60),
        (["<sip:alice@192.0.2.9>;expires=60", "<sip:alice@192.0.2.8>;expires=40"], None, 40),
        (["<sip:alice@192.0.2.9>;expires=6000"], None, 300),
        (["<sip:alice@192.0.2.9>;expires=60"], "120", 120),
        # Ours counts where it is among those of others.
        (["<sip:alice@192.0.2.9>;expires=60", "{ours};expires=200"], "120", 200),
        ([], "90", 90),
        ([], None, 300),
    ],
)
def test_how_long_we_are_bound(contacts: list[str], header: str | None, granted: int) -> None:
    def answer(request: Request, flow: Flow, now: float) -> Response:
        ours = request.headers.get("Contact") or ""
        headers = [("Contact", text.format(ours=ours)) for text in contacts]
        if header is not None:
            headers.append(("Expires", header))
        return response_to(request, 200, headers=headers)

    wire, _, registration = start(answer)
    assert registration.expires_at == pytest.approx(wire.now - 2 + granted, abs=0.1)
