"""Routing of requests: route sets, strict routers, target refresh (RFC 3261 12.2, 16.12)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.dialog import Dialog
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.testing.wire import FakeWire

from ..conftest import Pair, called, invite, media, within
from ..proxy import Proxy

ALICE, BOB, FIRST, SECOND = "10.0.0.1", "10.0.0.2", "10.0.0.11", "10.0.0.12"


class Routed(Pair):
    """Alice reaches Bob through two proxies, of which the first, the second or none is strict."""

    def __init__(self, strict: str | None = None) -> None:
        super().__init__(FakeWire(seed=21))
        self.second = Proxy(self.wire, SECOND, strict=strict == "second")
        self.first = Proxy(self.wire, FIRST, strict=strict == "first", onward=self.second)

    def up(self) -> tuple[Session, Session]:
        agent = self.alice.agent
        identity = Identity(NameAddr(Uri.parse(f"sip:alice@{ALICE}")), "alice", None, agent.rng)
        ours = agent.invite(
            identity,
            Uri.parse(f"sip:bob@{BOB}"),
            [self.alice.flow_to(self.first)],
            media(ALICE),
            self.wire.now,
        )
        theirs = self.incoming()
        self.ring(theirs)
        self.wire.run(1)
        self.answer(theirs)
        self.wire.run(1)
        return ours, theirs

    def path(self, kind: str, sender: str) -> list[str]:
        """The hosts that the last message of ``kind`` from ``sender`` passed through."""
        hops: list[str] = []
        for packet in self.wire.log:
            if packet.kind == kind:
                if packet.source[0] == sender:
                    hops = [sender]
                if hops and packet.source[0] == hops[-1]:
                    hops.append(packet.destination[0])
        return hops


FORTH = [ALICE, FIRST, SECOND, BOB]
BACK = [BOB, SECOND, FIRST, ALICE]


@pytest.mark.parametrize("strict", [None, "first", "second"])
def test_a_call_follows_the_routes_of_two_proxies(strict: str | None) -> None:
    routed = Routed(strict)
    ours, theirs = routed.up()
    assert ours.state is SessionState.CONFIRMED
    assert theirs.state is SessionState.CONFIRMED
    assert routed.path("ACK", ALICE) == FORTH
    ours.hold(routed.wire.now)
    routed.wire.run(1)
    assert routed.path("INVITE", ALICE) == FORTH
    assert routed.path("ACK", ALICE) == FORTH
    theirs.hold(routed.wire.now)
    routed.wire.run(1)
    assert routed.path("INVITE", BOB) == BACK
    assert routed.path("ACK", BOB) == BACK
    assert isinstance(routed.alice.events[-1], events.MediaChanged)
    assert routed.first.astray == []
    assert routed.second.astray == []


@pytest.mark.parametrize("strict", [None, "first", "second"])
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_bye_follows_the_routes_of_two_proxies(strict: str | None, who: str) -> None:
    routed = Routed(strict)
    ours, theirs = routed.up()
    if who == "alice":
        routed.hang_up(routed.alice, ours)
    else:
        routed.hang_up(routed.bob, theirs)
    routed.quiet()
    host, path = (ALICE, FORTH) if who == "alice" else (BOB, BACK)
    assert routed.path("BYE", host) == path
    assert sum(packet.kind == "BYE" for packet in routed.wire.log) == 3
    assert routed.ended(routed.alice if who == "bob" else routed.bob).by == "remote"
    assert routed.first.astray == []
    assert routed.second.astray == []


def test_the_route_set_survives_a_target_refresh() -> None:
    routed = Routed()
    ours, theirs = routed.up()
    assert theirs.dialog is not None
    moved = routed.wire.peer("10.0.0.3", agent=False)
    update = theirs.dialog.request(
        "UPDATE",
        routed.bob.agent.via(theirs.dialog.flow),
        headers=[("Contact", "<sip:bob@10.0.0.3>")],
    )
    routed.bob.send(update, routed.second)
    routed.wire.run(1)
    routed.hang_up(routed.alice, ours)
    routed.wire.run(1)
    assert routed.path("BYE", ALICE) == [ALICE, FIRST, SECOND, "10.0.0.3"]
    assert moved.take("BYE").headers.get("Route") is None


def test_the_ack_of_a_refused_reinvite_follows_its_route() -> None:
    routed = Routed()
    ours, theirs = routed.up()
    assert theirs.dialog is not None
    offer = media(BOB, 5000)(3).offer().replace(b"RTP/AVP 0 8", b"RTP/AVP 99")
    reinvite = theirs.dialog.request(
        "INVITE",
        routed.bob.agent.via(theirs.dialog.flow),
        headers=[("Contact", f"<sip:bob@{BOB}>"), ("Content-Type", "application/sdp")],
        body=offer.replace(b"PCMU", b"nothing").replace(b"PCMA", b"nothing"),
    )
    routed.bob.agent.layer.request(reinvite, theirs.dialog.flow, Deaf(), routed.wire.now)
    routed.wire.run(1)
    assert routed.path("488 INVITE", ALICE) == FORTH
    assert routed.path("ACK", BOB) == BACK
    assert routed.kinds(routed.alice).count("488 INVITE") == 1
    assert ours.state is SessionState.CONFIRMED


class Deaf:
    """The user of a request that ignores the outcome."""

    def receive_response(self, transaction: object, response: Response, now: float) -> None: ...

    def receive_failure(self, transaction: object, status: int, now: float) -> None: ...


# ---------------------------------------------------------------------- the proxy on the way out


def outbound(pair: Pair, proxy: str = "<sip:10.0.0.2;lr>") -> Session:
    agent = pair.alice.agent
    identity = Identity(
        NameAddr(Uri.parse("sip:alice@10.0.0.1")),
        "alice",
        None,
        agent.rng,
        route=NameAddr.parse(proxy),
    )
    flows = [pair.alice.flow_to(pair.bob)]
    session = agent.invite(
        identity, Uri.parse("sip:bob@10.0.0.99"), flows, media("10.0.0.1"), pair.wire.now
    )
    pair.wire.run(0.1)
    return session


def test_a_cancel_follows_the_route_of_its_invite(scripted: Pair) -> None:
    pair = scripted
    session = outbound(pair)
    request = pair.bob.take("INVITE")
    pair.reply(request, 180)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    cancel = pair.bob.take("CANCEL")
    assert isinstance(cancel, Request)
    assert isinstance(request, Request)
    assert cancel.headers.get_all("Route") == ["<sip:10.0.0.2;lr>"]  # RFC 3261 9.1
    assert cancel.uri == request.uri


def test_the_ack_of_a_refusal_follows_the_route_of_its_invite(scripted: Pair) -> None:
    pair = scripted
    outbound(pair)
    pair.reply(pair.bob.take("INVITE"), 486)
    pair.wire.run(0.1)
    ack = pair.bob.take("ACK")
    assert ack.headers.get_all("Route") == ["<sip:10.0.0.2;lr>"]  # RFC 3261 17.1.1.3
    assert ack.to.tag == "b1"


# ---------------------------------------------------------------------- targets that move


def test_a_call_follows_the_contact_of_an_update(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    moved = pair.wire.peer("10.0.0.77", agent=False)
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    ack = pair.bob.take("ACK")
    pair.ask("UPDATE", ack, ("Contact", "<sip:bob@10.0.0.77>"))
    pair.wire.run(0.1)
    pair.bob.take("200 UPDATE")
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    bye = moved.take("BYE")
    assert isinstance(bye, Request)
    assert str(bye.uri) == "sip:bob@10.0.0.77"


def test_a_call_follows_the_contact_of_a_reinvite(scripted: Pair) -> None:
    pair = scripted
    moved = pair.wire.peer("10.0.0.77", agent=False)
    body = media("10.0.0.2", 5000)(1).offer()
    request = invite(body=body)
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    pair.bob.send(within(request, "ACK", 1, str(success.to)), pair.alice)
    again = within(request, "INVITE", 2, str(success.to), ("Content-Type", "application/sdp"))
    headers = again.headers.set("Contact", "<sip:bob@10.0.0.77>")
    pair.bob.send(again.replace(headers=headers, body=body), pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("200 INVITE")
    pair.bob.send(within(request, "ACK", 2, str(success.to)), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    moved.take("BYE")


def test_the_answer_to_our_reinvite_moves_ack_and_bye(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    moved = pair.wire.peer("10.0.0.77", agent=False)
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    pair.bob.take("ACK")
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    contact = [("Contact", "<sip:new@10.0.0.77>")]
    success = response_to(
        request, 200, to_tag="b1", headers=contact, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(success, pair.alice)
    pair.wire.run(0.1)
    ack = moved.take("ACK")
    assert isinstance(ack, Request)
    assert str(ack.uri) == "sip:new@10.0.0.77"
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    moved.take("BYE")


def test_a_host_name_in_via_does_not_mean_a_nat(scripted: Pair) -> None:
    """A proxy with a host name in Via that is not in the route set is not a NAT."""
    pair = scripted
    caller = pair.wire.peer("10.0.0.77", agent=False)
    request = invite(body=media("10.0.0.77", 5000)(1).offer())
    headers = request.headers.set("Contact", "<sip:bob@10.0.0.77>")
    headers = headers.set("Via", "SIP/2.0/UDP proxy.example.com:5060;branch=z9hG4bKn")
    session = called(pair, request.replace(headers=headers)).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(pair.bob.take("200 INVITE").to)
    ack = within(request, "ACK", 1, to)
    headers = ack.headers.set("Via", "SIP/2.0/UDP 10.0.0.77:5060;branch=z9hG4bKa")
    caller.send(ack.replace(headers=headers), pair.alice)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    caller.take("BYE")


@pytest.mark.parametrize(
    ("contact", "transport"),
    [
        (
            "sip:bob@10.0.0.2",
            "tcp",
        ),  # The existing connection, although the Contact names no transport.
        ("sip:bob@10.0.0.2;transport=udp", "udp"),
        ("sip:bob@10.0.0.2:5070", "udp"),
        ("sip:bob@10.0.0.9", "udp"),
    ],
)
def test_a_contact_without_a_transport_keeps_the_connection(
    scripted: Pair, contact: str, transport: str
) -> None:
    flow = replace(scripted.alice.flow_to(scripted.bob), transport="tcp")
    scripted.call_unsent(flow)
    (outgoing,) = scripted.alice.agent.to_send(scripted.wire.now)
    request = scripted.read(outgoing)
    assert isinstance(request, Request)
    success = response_to(request, 200, to_tag="b1", headers=[("Contact", f"<{contact}>")])
    dialog = Dialog.from_response(request, success, flow)
    assert dialog.flow.transport == transport


# ---------------------------------------------------------------------- we move


@pytest.mark.parametrize("calling", [True, False])
def test_a_reinvite_sends_our_new_address(pair: Pair, calling: bool) -> None:
    ours, theirs = pair.established()
    mover, session, other = (pair.alice, ours, theirs) if calling else (pair.bob, theirs, ours)
    pair.wire.move(mover, "10.0.0.7")
    session.move("10.0.0.7", ("10.0.0.7", 4400), pair.wire.now)
    pair.wire.run(3)  # The probe goes to its old address first.
    stayer = pair.bob if calling else pair.alice
    changed = stayer.events[-1]
    assert isinstance(changed, events.MediaChanged)
    assert changed.agreed.remote == ("10.0.0.7", 4400)
    assert other.dialog is not None
    assert other.dialog.target.host == "10.0.0.7"
    bodies = [p.message.body for p in pair.wire.log if p.kind in ("INVITE", "200 INVITE")]
    mine = [
        body
        for body in bodies
        if (b"c=IN IP4 10.0.0.7" in body) or mover.address[0] in body.decode()
    ]
    (origin,) = [line for line in mine[-1].splitlines() if line.startswith(b"o=")]
    assert origin.endswith(
        b"10.0.0.1" if calling else b"10.0.0.2"
    )  # It does not change (RFC 3264 8).
    pair.hang_up(stayer, other)
    pair.quiet()
    assert pair.ended(mover).by == "remote"


def test_the_latest_request_shows_the_flow_after_a_nat_rebinds(pair: Pair) -> None:
    """The Contact cannot be reached, so the source of their request is used."""
    pair.wire.move(pair.alice, "192.0.2.1")  # Her address as Bob sees it.
    ours, theirs = pair.established()
    pair.wire.move(pair.alice, "192.0.2.2")
    ours.handle_timer("refresh", pair.wire.now)
    pair.wire.run(3)  # The probe goes to her old address first.
    assert "200 UPDATE" in pair.kinds(pair.bob)
    pair.hang_up(pair.bob, theirs)
    pair.quiet()
    assert pair.ended(pair.alice).by == "remote"
    (bye,) = {packet.destination for packet in pair.wire.log if packet.kind == "BYE"}
    assert bye == ("192.0.2.2", 5060)
