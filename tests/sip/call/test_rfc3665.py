"""The call flows of RFC 3665, as far as a user agent takes part in them.

It sees the proxies by a route set (3.2), challenges (3.3) and failures (3.4). Not covered: the list
of bindings (2.3, which is never requested) and the application level gateway (3.5, a proxy's task).
Each test is named after its section.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.dialog.digest import DigestServer, DigestVerdict
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import AuthHeader, NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.registration import Registration, RegistrationState
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire

from ..conftest import Pair, invite, media, within

ALICE, BOB = "10.0.0.1", "10.0.0.2"


def registrar(expires: int = 3600) -> Callable[[Request, Flow, float], Response]:
    """A registrar that knows Alice's password and accepts any request."""
    server = DigestServer("atlanta.example.com", random.Random(3), 60)

    def screen(request: Request, flow: Flow, now: float) -> Response:
        value = request.headers.get("Authorization")
        if value is not None:
            given = AuthHeader.parse(value)
            if server.verify(given, request.method, "secret", now) is DigestVerdict.OK:
                granted = request.expires if request.expires is not None else expires
                contact = [("Contact", f"{request.contact};expires={granted}")] if granted else []
                return response_to(request, 200, to_tag="r", headers=contact)
        challenges = [("WWW-Authenticate", str(one)) for one in server.challenge(now)]
        return response_to(request, 401, to_tag="r", headers=challenges)

    return screen


def register(password: str) -> tuple[Pair, Registration]:
    wire = FakeWire(seed=30)
    pair = Pair(wire, bob_agent=False)
    pair.bob = wire.peer(BOB, screen=registrar())
    agent = pair.alice.agent
    identity = Identity(NameAddr(Uri.parse(f"sip:alice@{BOB}")), "alice", password, agent.rng)
    registration = agent.register(
        identity, Uri.parse(f"sip:{BOB}"), [pair.alice.flow_to(pair.bob)], wire.now, expires=3600
    )
    wire.run(1)
    return pair, registration


# ---------------------------------------------------------------------- 2 registration


def test_2_1_successful_new_registration() -> None:
    pair, registration = register("secret")
    assert pair.wire.ladder() == [
        f"{ALICE} REGISTER",
        f"{BOB} 401 REGISTER",
        f"{ALICE} REGISTER",
        f"{BOB} 200 REGISTER",
    ]
    assert registration.state is RegistrationState.REGISTERED
    first, second = (p.message for p in pair.wire.log if p.kind == "REGISTER")
    assert second.cseq.number == first.cseq.number + 1
    assert second.call_id == first.call_id


def test_2_2_update_of_contact_list() -> None:
    pair, registration = register("secret")
    pair.wire.run(3600)
    registers = [p.message for p in pair.wire.log if p.kind == "REGISTER"]
    assert len(registers) >= 3
    assert registers[-1].headers.get("Authorization") is not None  # At once (RFC 7616 3.4).
    assert registration.state is RegistrationState.REGISTERED


def test_2_4_cancellation_of_registration() -> None:
    pair, registration = register("secret")
    pair.alice.agent.close(pair.wire.now)
    pair.wire.run(1)
    last = [p.message for p in pair.wire.log if p.kind == "REGISTER"][-1]
    assert last.expires == 0
    assert registration.state is RegistrationState.REMOVED


def test_2_5_unsuccessful_registration() -> None:
    pair, registration = register("wrong")
    # Further nonces are answered, because servers of a cluster may not know each other's.
    assert pair.kinds(pair.alice) == ["REGISTER"] * 4
    assert (registration.state, registration.status) == (RegistrationState.FAILED, 401)


# ---------------------------------------------------------------------- 3 sessions


def test_3_1_successful_session_establishment(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.wire.run(1)
    pair.answer(theirs)
    pair.wire.run(1)
    pair.hang_up(pair.bob, theirs)
    pair.wire.run(1)
    assert pair.wire.ladder() == [
        f"{ALICE} INVITE",
        f"{BOB} 180 INVITE",
        f"{BOB} 200 INVITE",
        f"{ALICE} ACK",
        f"{BOB} BYE",
        f"{ALICE} 200 BYE",
    ]
    pair.quiet()


def test_3_3_session_with_a_proxy_that_asks_for_credentials(
    scripted: Pair, sdp_answer: bytes
) -> None:
    pair = scripted
    session = pair.call(password="secret")
    pair.wire.run(0.1)
    first = pair.bob.take("INVITE")
    assert isinstance(first, Request)
    challenge = 'Digest realm="atlanta.example.com", qop="auth", nonce="wf84f1ceczx41ae6"'
    refusal = response_to(first, 407, to_tag="p", headers=[("Proxy-Authenticate", challenge)])
    pair.bob.send(refusal, pair.alice)
    pair.wire.run(0.1)
    assert pair.bob.take("ACK").to.tag == "p"
    second = pair.bob.take("INVITE")
    assert second.headers.get("Proxy-Authorization") is not None
    pair.reply(second, 200, body=sdp_answer)
    pair.wire.run(0.1)
    ack = pair.bob.take("ACK")
    assert ack.cseq.number == second.cseq.number
    assert ack.headers.get("Proxy-Authorization") is not None  # RFC 3261 22.1.
    assert session.state is SessionState.CONFIRMED


def test_3_2_through_two_proxies(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    invite = pair.bob.take("INVITE")
    assert isinstance(invite, Request)
    headers = [
        ("Record-Route", "<sip:10.0.0.2:5060;lr>"),
        ("Record-Route", "<sip:10.0.0.3:5060;lr>"),
        ("Contact", "<sip:bob@client.example.com>"),
    ]
    # As the proxies forward it: the proxy next to Bob is the topmost.
    success = response_to(
        invite, 200, to_tag="b", headers=headers, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(success, pair.alice)
    pair.wire.run(0.1)
    assert session.dialog is not None
    routes = [str(route.uri) for route in session.dialog.route_set]
    assert routes == ["sip:10.0.0.3:5060;lr", "sip:10.0.0.2:5060;lr"]
    pair.hang_up(pair.alice, session)
    bye = next(p.message for p in pair.wire.log if p.kind == "BYE")
    assert isinstance(bye, Request)
    assert str(bye.uri) == "sip:bob@client.example.com"
    assert [str(route.uri) for route in bye.routes] == routes


def test_3_4_failure_of_the_first_proxy(sdp_answer: bytes) -> None:
    wire = FakeWire(seed=34)
    pair = Pair(wire, bob_agent=False)
    second = wire.peer("10.0.0.4", agent=False)
    wire.drop = lambda packet: packet.destination == pair.bob.address
    session = pair.call(second)
    assert wire.run_until(lambda: bool(second.inbox), 60)
    invite = second.take("INVITE")
    assert isinstance(invite, Request)
    headers = [("Contact", "<sip:bob@10.0.0.4>")]
    kind = "application/sdp"
    success = response_to(
        invite, 200, to_tag="b", headers=headers, body=sdp_answer, content_type=kind
    )
    second.send(success, pair.alice)
    wire.run(0.1)
    assert second.take("ACK").cseq.number == invite.cseq.number
    assert session.state is SessionState.CONFIRMED


def test_3_6_by_a_redirect_server_with_the_description_in_the_ack(scripted: Pair) -> None:
    """The callee's half; the redirection itself is 2.7 of RFC 5359."""
    pair = scripted
    pair.bob.send(invite(), pair.alice)
    pair.wire.run(0.1)
    incoming = pair.find(pair.alice, events.InviteReceived)
    assert isinstance(incoming, events.InviteReceived)
    incoming.session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    answer, _ = media("10.0.0.2", 5000)(1).receive_offer(success.body)
    ack = within(invite(), "ACK", 1, str(success.to), ("Content-Type", "application/sdp"))
    pair.bob.send(ack.replace(body=answer), pair.alice)
    pair.wire.run(0.1)
    changed = pair.find(pair.alice, events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == ("10.0.0.2", 5000)


def test_3_7_with_a_new_invite_for_another_address(pair: Pair) -> None:
    ours, theirs = pair.established()
    assert theirs.dialog is not None
    via = pair.bob.agent.via(theirs.dialog.flow)
    headers = [("Contact", "<sip:bob@10.0.0.2:5060>"), ("Content-Type", "application/sdp")]
    body = media("10.0.0.22", 5022)(1).offer()
    pair.bob.send(theirs.dialog.request("INVITE", via, headers=headers, body=body), pair.alice)
    pair.wire.run(0.1)
    changed = pair.find(pair.alice, events.MediaChanged)
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == ("10.0.0.22", 5022)
    pair.hang_up(pair.alice, ours)
    pair.wire.run(1)
    assert theirs.state is SessionState.ENDED


def test_3_8_unsuccessful_no_answer(pair: Pair) -> None:
    session = pair.call()
    pair.ring(pair.incoming())
    pair.wire.run(10)
    pair.hang_up(pair.alice, session)
    pair.wire.run(1)
    assert pair.wire.ladder()[1:] == [
        f"{BOB} 180 INVITE",
        f"{ALICE} CANCEL",
        f"{BOB} 200 CANCEL",
        f"{BOB} 487 INVITE",
        f"{ALICE} ACK",
    ]
    pair.quiet()


def test_3_9_unsuccessful_busy(pair: Pair) -> None:
    pair.call()
    pair.hang_up(pair.bob, pair.incoming(), 486)
    pair.wire.run(1)
    assert pair.wire.ladder()[1:] == [f"{BOB} 486 INVITE", f"{ALICE} ACK"]
    assert pair.ended(pair.alice).status == 486
    pair.quiet()


def test_3_10_unsuccessful_no_response_from_the_user_agent(pair: Pair) -> None:
    pair.wire.drop = lambda packet: packet.destination == pair.bob.address
    pair.call()
    pair.wire.run(33)
    assert set(pair.kinds(pair.alice)) == {"INVITE"}
    assert pair.ended(pair.alice).status == 408


def test_3_11_unsuccessful_temporarily_unavailable(pair: Pair) -> None:
    pair.call()
    theirs = pair.incoming()
    pair.ring(theirs)
    pair.hang_up(pair.bob, theirs, 480)
    pair.wire.run(1)
    assert pair.ended(pair.alice).status == 480
    assert pair.find(pair.alice, events.Answered) is None
    pair.quiet()


@pytest.mark.parametrize("seed", range(10))
def test_3_1_over_a_bad_line(seed: int) -> None:
    pair = Pair(FakeWire(seed=seed, loss=0.3, duplication=0.2, delay=(0.01, 0.3)))
    ours = pair.call()
    theirs = pair.incoming()
    pair.answer(theirs)
    assert pair.wire.run_until(
        lambda: ours.state is SessionState.CONFIRMED and theirs.state is SessionState.CONFIRMED, 60
    )
    pair.wire.loss = 0.0
    pair.hang_up(pair.bob, theirs)
    pair.quiet()
