"""A flow that is known to work takes precedence over a written address."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire, Peer

from ..conftest import Pair, called, invite, media, within

#: An unused public address, and a private one of another network.
UNHEARD = "198.51.100.77"
HIDDEN = "192.168.77.5"


class Seen(Pair):
    """The test acts as Bob, at a chosen address."""

    def __init__(self, host: str = "10.0.0.2") -> None:
        super().__init__(FakeWire(seed=2), bob_agent=False)
        self.bob = self.wire.peer(host, agent=False)

    def heard(self) -> list[str]:
        return [one.method for one in self.bob.inbox if isinstance(one, Request)]

    def until(self, method: str, seconds: float) -> bool:
        return self.wire.run_until(lambda: method in self.heard(), seconds)


def answer(pair: Seen, body: bytes, contact: str) -> Response:
    pair.wire.run(0.1)
    invited = pair.bob.take("INVITE")
    assert isinstance(invited, Request)
    headers = [("Contact", f"<sip:bob@{contact}>")]
    return response_to(
        invited, 200, to_tag="b1", headers=headers, body=body, content_type="application/sdp"
    )


@pytest.mark.parametrize("contact", ["192.168.77.5", "127.0.0.1", "0.0.0.0", "100.64.1.1"])
def test_a_public_server_with_a_hidden_contact_is_reached_at_once(
    contact: str, sdp_answer: bytes
) -> None:
    pair = Seen("198.51.100.2")
    session = pair.call()
    response = answer(pair, sdp_answer, contact)
    pair.bob.send(response, pair.alice)
    assert pair.until("ACK", 0.1)
    pair.hang_up(pair.alice, session)
    assert pair.until("BYE", 0.1)


@pytest.mark.parametrize("contact", ["198.51.100.9", "pbx.example.org"])
def test_a_reachable_contact_is_preferred(contact: str, sdp_answer: bytes) -> None:
    pair = Seen("198.51.100.2")
    session = pair.call()
    pair.bob.send(answer(pair, sdp_answer, contact), pair.alice)
    pair.wire.run(0.1)
    assert session.dialog is not None
    if contact == "198.51.100.9":
        assert session.dialog.flow.remote[0] == contact


def test_the_flow_of_a_delivered_ack_is_used_for_the_bye(sdp_answer: bytes) -> None:
    pair = Seen()
    session = pair.call()
    response = answer(pair, sdp_answer, UNHEARD)
    for _ in range(5):
        pair.bob.send(response, pair.alice)
        if pair.until("ACK", 1.0):
            break
    assert "ACK" in pair.heard()
    pair.hang_up(pair.alice, session)
    assert pair.until("BYE", 0.1)


def test_a_bye_reaches_a_caller_with_an_unreachable_private_contact() -> None:
    pair = Seen()
    request = invite(body=media("10.0.0.2")(1).offer())
    request = request.replace(headers=request.headers.set("Contact", f"<sip:bob@{HIDDEN}>"))
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    pair.bob.send(within(request, "ACK", 1, to), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    assert pair.until("BYE", 0.1)


def acknowledged(pair: Seen, contact: str, sender: Peer) -> tuple[Session, Request, str]:
    """A call that came with ``contact``; its ACK came from ``sender``."""
    request = invite(body=media("10.0.0.2")(1).offer())
    request = request.replace(headers=request.headers.set("Contact", f"<sip:bob@{contact}>"))
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    ack = within(request, "ACK", 1, to)
    via = f"SIP/2.0/UDP {sender.address[0]}:5060;branch=z9hG4bKack"
    sender.send(ack.replace(headers=ack.headers.set("Via", via)), pair.alice)
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED
    return session, request, to


@pytest.mark.parametrize("contact", [UNHEARD, "10.0.0.99", "10.0.0.2:5099"])
def test_the_flow_that_brought_their_ack_serves_bye_and_reinvite(contact: str) -> None:
    pair = Seen()
    session, _, _ = acknowledged(pair, contact, pair.bob)
    session.hold(pair.wire.now)
    pair.alice.flush()
    assert pair.until("INVITE", 0.1)
    pair.hang_up(pair.alice, session)
    assert pair.until("BYE", 0.1)


def test_the_contact_that_sent_the_ack_serves_the_bye() -> None:
    """A proxy that does not record its route: the ACK comes straight from the caller."""
    pair = Seen()
    caller = pair.wire.peer(UNHEARD, agent=False)
    session, _, _ = acknowledged(pair, UNHEARD, caller)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    caller.take("BYE")
    assert "BYE" not in pair.heard()


def test_an_ack_from_elsewhere_moves_nothing() -> None:
    pair = Seen()
    stranger = pair.wire.peer("203.0.113.6", agent=False)
    session, _, _ = acknowledged(pair, "10.0.0.99", stranger)
    pair.hang_up(pair.alice, session)
    pair.wire.run(30)
    assert stranger.inbox == []


def test_a_target_that_a_reinvite_moves_comes_before_the_flow_of_the_ack() -> None:
    pair = Seen()
    moved = pair.wire.peer("10.0.0.77", agent=False)
    session, request, to = acknowledged(pair, UNHEARD, pair.bob)
    again = within(request, "INVITE", 2, to, ("Content-Type", "application/sdp"))
    headers = again.headers.set("Contact", "<sip:bob@10.0.0.77>")
    pair.bob.send(again.replace(headers=headers, body=request.body), pair.alice)
    pair.wire.run(0.1)
    pair.bob.send(within(request, "ACK", 2, to), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    moved.take("BYE")


def test_a_short_drain_sends_the_bye_over_every_flow_at_once(sdp_answer: bytes) -> None:
    pair = Seen()
    session = pair.call()
    pair.bob.send(answer(pair, sdp_answer, UNHEARD), pair.alice)
    pair.wire.run(0.1)
    pair.alice.agent.close(pair.wire.now, 1.0)
    pair.alice.flush()
    assert pair.until("BYE", 0.1)
    pair.reply(pair.bob.take("BYE"), 200)
    pair.wire.run(0.1)
    assert session.state is SessionState.ENDED
    pair.quiet()


@pytest.mark.parametrize("ours", ["10.0.0.2", UNHEARD, "203.0.113.9"])
def test_a_bye_over_every_flow_has_credentials_for_our_servers_only(
    ours: str, sdp_answer: bytes
) -> None:
    """``ours`` is the address of the registrar, whose realm we know from an earlier challenge."""
    pair = Seen()
    contact = pair.wire.peer(UNHEARD, agent=False)
    agent = pair.alice.agent
    identity = Identity(NameAddr(Uri.parse(f"sip:alice@{ours}")), "alice", "secret", agent.rng)
    server = replace(pair.alice.flow_to(pair.bob), remote=(ours, 5060))
    identity.trust([server])
    asked = Request("REGISTER", Uri.parse(f"sip:{ours}"), invite().headers, b"")
    challenge = ("WWW-Authenticate", 'Digest realm="home", nonce="n", qop="auth"')
    assert identity.accept_challenge(asked, response_to(asked, 401, headers=[challenge]), server)
    session = agent.invite(
        identity,
        Uri.parse("sip:bob@10.0.0.2"),
        [pair.alice.flow_to(pair.bob)],
        media("10.0.0.1"),
        pair.wire.now,
    )
    pair.alice.flush()
    pair.bob.send(answer(pair, sdp_answer, UNHEARD), pair.alice)
    pair.wire.run(0.1)
    agent.close(pair.wire.now, 1.0)
    pair.alice.flush()
    pair.wire.run(0.1)
    for peer in (pair.bob, contact):
        bye = peer.take("BYE")
        assert isinstance(bye, Request)
        assert bool(bye.credentials) is (peer.address[0] == ours)
    assert session.pending


@pytest.mark.parametrize("closing", [True, False])
def test_a_bye_without_response_is_tried_over_every_known_flow(
    closing: bool, sdp_answer: bytes
) -> None:
    """Within the drain of a closing phone, and soon when a call ends."""
    pair = Seen()
    session = pair.call()
    pair.bob.send(answer(pair, sdp_answer, UNHEARD), pair.alice)
    pair.wire.run(0.1)
    began = pair.wire.now
    if closing:
        pair.alice.agent.close(pair.wire.now)
        pair.alice.flush()
    else:
        pair.hang_up(pair.alice, session)
    assert pair.until("BYE", 5.0)
    assert pair.wire.now - began < (1.0 if closing else 3.0)
    pair.reply(pair.bob.take("BYE"), 200)
    pair.wire.run(0.1)
    assert session.state is SessionState.ENDED
    pair.quiet()


def test_a_single_flow_is_not_used_twice(sdp_answer: bytes) -> None:
    pair = Seen()
    session = pair.call()
    pair.bob.send(answer(pair, sdp_answer, "10.0.0.2"), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(20)
    assert len({p.data for p in pair.wire.log if p.kind == "BYE"}) == 1


def test_a_prack_without_response_is_tried_over_every_known_flow(sdp_answer: bytes) -> None:
    pair = Seen()
    pair.call()
    pair.wire.run(0.1)
    invited = pair.bob.take("INVITE")
    assert isinstance(invited, Request)
    headers = [
        ("Contact", f"<sip:bob@{UNHEARD}>"),
        ("Require", "100rel"),
        ("RSeq", "1"),
    ]
    early = response_to(
        invited,
        183,
        to_tag="b1",
        headers=headers,
        body=sdp_answer,
        content_type="application/sdp",
    )
    pair.bob.send(early, pair.alice)
    assert pair.until("PRACK", 5.0)
