"""Registrations against a scripted registrar, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spech.sip.digest import DigestServer, Verdict
from spech.sip.flow import Flow
from spech.sip.headers import AuthHeader, NameAddr
from spech.sip.identity import Identity
from spech.sip.message import Request, Response, response_to
from spech.sip.registration import Registration, State
from spech.sip.uri import Uri
from spech.testing.wire import FakeWire, Peer

Answer = Callable[[Request, Flow, float], Response | None]


class Registrar:
    """Answers REGISTER as a test wants it."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, Request]] = []
        self.digest = DigestServer("spech", random.Random(1), 60)
        self.password: str | None = None
        self.granted = 300
        self.least = 0

    def __call__(self, request: Request, flow: Flow, now: float) -> Response:
        self.seen.append((now, request))
        expires = request.expires or 0
        if 0 < expires < self.least:
            return response_to(request, 423, headers=[("Min-Expires", str(self.least))])
        if self.password is not None:
            value = request.headers.get("Authorization")
            verdict = Verdict.WRONG
            if value is not None:
                given = AuthHeader.parse(value)
                verdict = self.digest.verify(given, "REGISTER", self.password, now)
            if verdict is not Verdict.OK:
                challenges = self.digest.challenge(now, stale=verdict is Verdict.STALE)
                headers = [("WWW-Authenticate", str(one)) for one in challenges]
                return response_to(request, 401, headers=headers)
        contact = f"{request.headers.get('Contact')};expires={min(expires, self.granted)}"
        return response_to(request, 200, headers=[("Contact", contact)])


@pytest.fixture
def registrar() -> Registrar:
    return Registrar()


def start(
    registrar: Registrar, password: str | None = None, wire: FakeWire | None = None
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


def test_a_wrong_password_fails_once_and_is_not_tried_again(registrar: Registrar) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "guess")
    assert (registration.state, registration.status) == (State.FAILED, 401)
    assert registration.answered
    wire.run(1000)
    assert len(registrar.seen) == 2


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
