"""Registrations against a scripted registrar, in virtual time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest

from spech.sip.dialog.digest import DigestServer
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.registration import RefreshDue, Registration, RegistrationChanged, RegistrationState
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire, Peer

from .conftest import media
from .registrar import Registrar

Answer = Callable[[Request, Flow, float], Response | None]


@pytest.fixture
def registrar() -> Registrar:
    return Registrar()


def start(
    registrar: Answer,
    password: str | None = None,
    wire: FakeWire | None = None,
    seconds: float = 2.0,
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
    wire.run(seconds)
    return wire, alice, registration


def test_a_registration_is_made_refreshed_and_removed(registrar: Registrar) -> None:
    wire, alice, registration = start(registrar)
    assert registration.state is RegistrationState.REGISTERED
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
    assert registration.state is RegistrationState.REMOVED
    assert alice.agent.get_timer() is None


def test_a_registration_authenticates_and_reuses_the_nonce(registrar: Registrar) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "secret")
    assert registration.state is RegistrationState.REGISTERED
    assert len(registrar.seen) == 2
    registrar.digest.lifetime = 1000
    wire.run(270)
    assert len(registrar.seen) == 3  # The refresh needed no second round trip.
    assert "nc=00000002" in (registrar.seen[2][1].headers.get("Authorization") or "")


def test_a_stale_nonce_is_replaced_without_asking_the_user(registrar: Registrar) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "secret")
    wire.run(270)  # The nonce lives 60 s.
    assert registration.state is RegistrationState.REGISTERED
    assert len(registrar.seen) == 4


def test_a_wrong_password_is_not_retried_after_three_refusals(
    registrar: Registrar,
) -> None:
    registrar.password = "secret"
    wire, _, registration = start(registrar, "guess")
    assert (registration.state, registration.status) == (RegistrationState.FAILED, 401)
    assert registration.answered
    wire.run(4000)
    # Without credentials, with credentials, and for two other nonces (as a cluster may require).
    assert len(registrar.seen) == 4


def test_a_too_brief_interval_is_lengthened(registrar: Registrar) -> None:
    registrar.least = 600
    registrar.granted = 600
    _, _, registration = start(registrar)
    assert registration.state is RegistrationState.REGISTERED
    assert [request.expires for _, request in registrar.seen] == [300, 600]


def test_a_register_without_response_fails_after_timer_f_and_is_retried(
    registrar: Registrar,
) -> None:
    wire = FakeWire(seed=4, loss=1.0)
    wire, _, registration = start(registrar, wire=wire)
    wire.run(31)
    assert (registration.state, registration.status) == (RegistrationState.FAILED, 408)
    assert not registration.answered
    wire.loss = 0.0
    wire.run(10)
    assert registration.state is RegistrationState.REGISTERED


@pytest.mark.parametrize(("heard", "waits"), [(False, False), (True, True)])
def test_a_registrar_that_never_answered_is_not_waited_for(
    registrar: Registrar, heard: bool, waits: bool
) -> None:
    """A challenge shows that a registrar is there, which may have made the binding."""
    registrar.password = "secret"
    wire = FakeWire(seed=4)
    wire.drop = lambda packet: not heard or b"\nAuthorization" in packet.data
    wire, alice, registration = start(registrar, "secret", wire=wire)
    assert registration.state is RegistrationState.REGISTERING
    alice.agent.close(wire.now)
    assert registration.state is RegistrationState.REMOVED
    assert registration.pending is waits
    assert alice.agent.idle is not waits


def test_a_registrar_that_has_had_no_time_to_answer_is_waited_for(registrar: Registrar) -> None:
    wire = FakeWire(seed=4, delay=(1.0, 1.0))
    wire, alice, _ = start(registrar, wire=wire, seconds=1.5)
    alice.agent.close(wire.now)
    wire.run(10)
    assert [request.expires for _, request in registrar.seen] == [300, 0]


def test_the_public_address_is_bound_behind_a_nat(registrar: Registrar) -> None:
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
        via = request.via.with_parameters(received="198.51.100.7", rport="4321")
        seen = request.replace(headers=request.headers.set("Via", str(via)))
        contacts = [("Contact", value) for value in request.headers.values("Contact")]
        routes = [("Service-Route", "<sip:10.0.0.9;lr>")]
        server.send(response_to(seen, 200, headers=[*contacts[:1], *routes]), alice)
        wire.run(0.1)
        return request

    assert answer().headers.values("Contact") == ["<sip:alice@10.0.0.1:5060>"]
    assert registration.state is RegistrationState.REGISTERING
    assert answer().headers.values("Contact") == [
        "<sip:alice@198.51.100.7:4321>",
        "<sip:alice@10.0.0.1:5060>;expires=0",
    ]
    assert registration.state is RegistrationState.REGISTERED
    flows = [alice.flow_to(server)]
    alice.agent.invite(identity, Uri.parse("sip:bob@10.0.0.9"), flows, media("10.0.0.1"), wire.now)
    wire.run(0.1)
    invite = server.take("INVITE")
    assert invite.headers.get("Contact") == "<sip:alice@198.51.100.7:4321>"
    assert invite.headers.get_all("Route") == ["<sip:10.0.0.9;lr>"]  # RFC 3608


def test_retry_after_is_respected() -> None:
    seen: list[float] = []

    def busy(request: Request, flow: Flow, now: float) -> Response:
        seen.append(now)
        return response_to(request, 503, headers=[("Retry-After", "100 (lunch);duration=9")])

    wire, _, registration = start(busy)
    assert registration.state is RegistrationState.FAILED
    wire.run(130)
    assert len(seen) == 2
    assert 100 <= seen[1] - seen[0] <= 121


def test_a_phone_keeps_its_instance_id(registrar: Registrar) -> None:
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
        # Rewritten on the way, and recognized by its instance or not at all.
        (['<sip:alice@192.0.2.9>;expires=60;+sip.instance="<urn:x>"'], None, 60),
        (["<sip:alice@192.0.2.9>;expires=60"], None, 60),
        (["<sip:alice@192.0.2.9>;expires=60", "<sip:alice@192.0.2.8>;expires=40"], None, 40),
        (["<sip:alice@192.0.2.9>;expires=6000"], None, 300),
        (["<sip:alice@192.0.2.9>;expires=60"], "120", 120),
        # Ours is used among those of others.
        (["<sip:alice@192.0.2.9>;expires=60", "{ours};expires=200"], "120", 200),
        ([], "90", 90),
        ([], None, 300),
    ],
)
def test_the_lifetime_of_a_binding_is_read(
    contacts: list[str], header: str | None, granted: int
) -> None:
    def answer(request: Request, flow: Flow, now: float) -> Response:
        ours = request.headers.get("Contact") or ""
        headers = [("Contact", text.format(ours=ours)) for text in contacts]
        if header is not None:
            headers.append(("Expires", header))
        return response_to(request, 200, headers=headers)

    wire, _, registration = start(answer)
    assert registration.expires_at == pytest.approx(wire.now - 2 + granted, abs=0.1)


# ---------------------------------------------------------------------- retrying: a floor, no end


def answering(
    *statuses: int, headers: tuple[tuple[str, str], ...] = ()
) -> tuple[Answer, list[tuple[float, Request]]]:
    """A registrar that sends these statuses in turn, and then repeats the last one."""
    seen: list[tuple[float, Request]] = []

    def answer(request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        status = statuses[min(len(seen), len(statuses) - 1)]
        seen.append((now, request))
        contact = ("Contact", f"{request.headers.get('Contact')};expires=300")
        return response_to(request, status, headers=[contact, *headers])

    return answer, seen


def pauses(seen: list[tuple[float, Request]]) -> list[float]:
    times = [time for time, _ in seen]
    return [after - before for before, after in itertools.pairwise(times)]


@pytest.mark.parametrize(
    ("status", "header"),
    [
        (503, ("Retry-After", "0")),
        (500, ("Retry-After", "-1")),
        (404, ("Retry-After", "0;duration=0")),
        (486, ("X-Nothing", "")),
        (600, ("Retry-After", "0 (now)")),
        (423, ("Min-Expires", "301")),
        (302, ("Retry-After", "0")),
        (439, ("Retry-After", "0")),
    ],
)
def test_no_response_makes_retries_faster_than_the_back_off(
    status: int, header: tuple[str, str]
) -> None:
    answer, seen = answering(status, headers=(header,))
    wire, _, _ = start(answer)
    wire.run(4000)
    assert len(seen) >= 8  # It does not give up, either.
    gaps = [gap for gap in pauses(seen) if gap > 0.1]
    assert len(pauses(seen)) - len(gaps) <= 8 * (status == 423)  # A longer interval is tried once.
    assert gaps[0] >= 4.0
    assert all(after >= 0.6 * before for before, after in itertools.pairwise(gaps))
    assert max(gaps) <= 1800 + 1


def test_growing_minimum_intervals_cause_no_loop() -> None:
    least = iter(range(301, 10_000))

    def greedy(request: Request, flow: Flow, now: float) -> Response | None:
        return response_to(request, 423, headers=[("Min-Expires", str(next(least)))])

    wire, _, registration = start(greedy)
    wire.run(100)
    assert registration.state is RegistrationState.FAILED
    assert next(least) < 320


@pytest.mark.parametrize("status", [401, 403, 404, 407, 480, 500, 606])
def test_a_refusal_after_a_first_success_is_retried_forever(status: int) -> None:
    answer, seen = answering(200, *[status] * 12, 200)
    wire, _, registration = start(answer)
    wire.run(300)
    assert (registration.state, registration.status) == (RegistrationState.FAILED, status)
    assert wire.run_until(lambda: registration.state is RegistrationState.REGISTERED, 10_000)
    assert max(pauses(seen)) <= 1800 + 1
    assert max(pauses(seen)) >= 1000


def test_credentials_that_are_refused_with_403_are_forgotten_once(registrar: Registrar) -> None:
    """Some registrars send 403 instead of a challenge for a nonce that was valid before."""
    registrar.password = "secret"
    used: set[str] = set()
    statuses: list[int] = []

    def answer(request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        value = request.headers.get("Authorization")
        response = registrar(request, flow, now)
        if value is not None and value.split('nonce="')[1][:20] in used:
            response = response_to(request, 403)
        elif value is not None:
            used.add(value.split('nonce="')[1][:20])
        assert response is not None
        statuses.append(response.status)
        return response

    wire, _, registration = start(answer, "secret")
    assert statuses == [401, 200]
    wire.run(270)
    assert registration.state is RegistrationState.REGISTERED
    assert statuses[2:] == [403, 401, 200]


@pytest.mark.parametrize("refusals", [1, 2])
def test_cluster_servers_may_not_know_each_others_nonces(
    registrar: Registrar, refusals: int
) -> None:
    registrar.password = "secret"
    other = Registrar()
    other.password = "secret"
    other.digest = DigestServer("spech", random.Random(9), 60)
    asked: list[Registrar] = []

    def answer(request: Request, flow: Flow, now: float) -> Response | None:
        if request.method != "REGISTER":
            return None
        one = (registrar, other)[min(len(asked), refusals) % 2]
        asked.append(one)
        response = one(request, flow, now)
        if response is not None and response.status == 401:
            # Neither says "stale".
            values = [
                value.replace(', stale="true"', "").replace(", stale=true", "")
                for value in response.headers.get_all("WWW-Authenticate")
            ]
            response = response_to(request, 401, headers=[("WWW-Authenticate", v) for v in values])
        return response

    _, _, registration = start(answer, "secret")
    assert registration.state is RegistrationState.REGISTERED
    assert len(asked) == refusals + 2


def test_a_first_hop_without_outbound_gets_a_plain_binding(registrar: Registrar) -> None:
    """439 First Hop Lacks Outbound Support, RFC 5626 4.2.1."""
    seen: list[Request] = []

    def answer(request: Request, flow: Flow, now: float) -> Response | None:
        if request.method == "REGISTER":
            seen.append(request)
            if "reg-id" in (request.headers.get("Contact") or ""):
                return response_to(request, 439)
        return registrar(request, flow, now)

    wire = FakeWire(seed=2)
    alice = wire.peer("10.0.0.1")
    server = wire.peer("10.0.0.9", screen=answer)
    identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.9")), "alice", None, alice.agent.rng)
    registration = alice.agent.register(
        identity, Uri.parse("sip:10.0.0.9"), [alice.flow_to(server)], wire.now, instance="urn:x:y"
    )
    wire.run(600)
    assert registration.state is RegistrationState.REGISTERED
    assert "outbound" in seen[0].headers.values("Supported")
    assert len(seen) >= 4
    for request in seen[1:]:  # The result is remembered.
        assert "reg-id" not in (request.headers.get("Contact") or "")
        assert "outbound" not in request.headers.values("Supported")


# ---------------------------------------------------------------------- dead servers


def changes(peer: Peer) -> list[RegistrationState]:
    return [
        event.registration.state for event in peer.events if isinstance(event, RegistrationChanged)
    ]


@pytest.mark.parametrize("dead", [15.0, 200.0, 4000.0])
def test_the_state_follows_a_servers_failure_and_return_within_30_seconds(
    registrar: Registrar, dead: float
) -> None:
    wire, _, registration = start(registrar)
    wire.run(500)
    assert registration.state is RegistrationState.REGISTERED
    wire.loss = 1.0
    assert wire.run_until(lambda: registration.state is not RegistrationState.REGISTERED, 30)
    wire.run(dead)
    assert registration.state is not RegistrationState.REGISTERED
    wire.loss = 0.0
    assert wire.run_until(lambda: registration.state is RegistrationState.REGISTERED, 30)


def test_a_server_that_ignores_options_stays_registered(registrar: Registrar) -> None:
    wire, alice, registration = start(registrar)
    wire.drop = lambda packet: packet.kind == "OPTIONS"
    wire.run(2000)
    assert registration.state is RegistrationState.REGISTERED
    assert len({p.message.call_id for p in wire.log if p.kind == "OPTIONS"}) == 1
    assert len([p for p in wire.log if p.kind == "OPTIONS" and p.time > 1100]) == 0
    assert set(changes(alice)) == {RegistrationState.REGISTERED}


def test_an_unanswered_request_of_a_call_triggers_a_registration(
    registrar: Registrar,
) -> None:
    wire, alice, registration = start(registrar)
    wire.drop = lambda packet: packet.kind in ("OPTIONS", "MESSAGE")
    wire.run(50)
    before = len(registrar.seen)
    alice.agent.services.request(
        registration.identity,
        "MESSAGE",
        Uri.parse("sip:bob@10.0.0.9"),
        registration.flows,
        wire.now,
        done=lambda status, response, now: None,
    )
    wire.run(30)
    assert len(registrar.seen) == before
    wire.run(4)
    assert len(registrar.seen) == before + 1
    assert registration.state is RegistrationState.REGISTERED


def test_a_registrar_with_a_name_is_resolved_for_each_refresh(registrar: Registrar) -> None:
    wire = FakeWire(seed=2)
    alice = wire.peer("10.0.0.1")
    first = wire.peer("10.0.0.8", screen=registrar)
    second = Registrar()
    other = wire.peer("10.0.0.9", screen=second)
    identity = Identity(
        NameAddr(Uri.parse("sip:alice@example.test")), "alice", None, alice.agent.rng
    )
    registration = alice.agent.register(
        identity, Uri.parse("sip:example.test"), [alice.flow_to(first)], wire.now
    )
    wire.run(2)
    assert registration.flow == alice.flow_to(first)

    def due() -> bool:
        return any(isinstance(event, RefreshDue) for event in alice.events)

    assert wire.run_until(due, 300)
    registration.register([alice.flow_to(other)], wire.now)
    alice.flush()
    wire.run(1)
    assert (registration.state, registration.flow) == (
        RegistrationState.REGISTERED,
        alice.flow_to(other),
    )
    assert len(second.seen) == 1
    # If DNS fails, the addresses that worked are used.
    wire.run(300)
    assert len(second.seen) == 2
    # The server that it is registered with comes first.
    registration.register([alice.flow_to(first), alice.flow_to(other)], wire.now)
    assert registration.flow == alice.flow_to(other)
