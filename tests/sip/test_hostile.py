"""Messages of hostile or broken peers, and the limits of their cost."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from spech.errors import LocalProtocolError
from spech.sip import events
from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.dialog.identity import Identity
from spech.sip.message.headers import Headers, NameAddr
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow
from spech.testing.wire import FakeWire

from .conftest import Pair, called, invite, media, within

#: Texts that some number parsers accept, but ours must not.
NUMBERS = ["\u00b2", "\u0661", "9" * 5000, "-1", "1e9", "0x10", "", "NaN"]


def offer() -> bytes:
    return media("10.0.0.2", 5000)(1).offer()


@pytest.mark.parametrize("number", NUMBERS)
def test_invalid_numbers_in_an_invite_do_no_harm(scripted: Pair, number: str) -> None:
    pair = scripted
    request = invite(
        ("Supported", "timer"), ("Session-Expires", number), ("Expires", number), body=offer()
    )
    pair.bob.send(request, pair.alice)
    pair.wire.run(0.1)
    if pair.find(pair.alice, events.InviteReceived) is None:
        pair.bob.take("400 INVITE")


@pytest.mark.parametrize("number", NUMBERS)
def test_invalid_numbers_in_responses_to_an_invite_are_ignored(
    scripted: Pair, sdp_answer: bytes, number: str
) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    contact = ("Contact", "<sip:bob@10.0.0.2>")
    reliable = [contact, ("Require", "100rel"), ("RSeq", number)]
    pair.bob.send(response_to(request, 183, to_tag="b1", headers=reliable), pair.alice)
    pair.wire.run(0.1)
    timed = [contact, ("Session-Expires", number), ("Min-SE", number), ("Retry-After", number)]
    success = response_to(
        request, 200, to_tag="b1", headers=timed, body=sdp_answer, content_type="application/sdp"
    )
    pair.bob.send(success, pair.alice)
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED
    assert session.timer.interval is None or session.timer.interval <= 86_400


@pytest.mark.parametrize("number", NUMBERS)
def test_invalid_numbers_among_formats_are_ignored(
    scripted: Pair, sdp_answer: bytes, number: str
) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    strange = f"RTP/AVP {number} 0".replace("  ", " ").encode()
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer.replace(b"RTP/AVP 0", strange))
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED


@pytest.mark.parametrize("number", [*NUMBERS, "9" * 400])
def test_invalid_numbers_in_responses_to_a_register_are_ignored(number: str) -> None:
    wire = FakeWire(seed=2)
    alice = wire.peer("10.0.0.1")

    def grant(request: Request, flow: Flow, now: float) -> Response:
        contact = f"{request.headers.get('Contact')};expires={number}"
        return response_to(
            request, 200, headers=[("Contact", contact), ("Expires", number), ("Min-Expires", "x")]
        )

    server = wire.peer("10.0.0.9", screen=grant)
    identity = Identity(NameAddr(Uri.parse("sip:alice@10.0.0.9")), "alice", None, alice.agent.rng)
    registration = alice.agent.register(
        identity, Uri.parse("sip:10.0.0.9"), [alice.flow_to(server)], wire.now
    )
    wire.run(2)
    assert registration.expires_at is None or registration.expires_at <= wire.now + 86_400
    assert alice.agent.get_timer() is not None  # It continues nevertheless.


@pytest.mark.parametrize("source", ["6.6.6.6", "10.0.0.2"])
def test_a_bye_is_handled_during_a_flood(scripted: Pair, sdp_answer: bytes, source: str) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    ack = pair.bob.take("ACK")
    assert isinstance(ack, Request)
    agent = pair.alice.agent
    stranger = Flow("udp", pair.alice.address, (source, 5061))
    flood = (
        "MESSAGE sip:a@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 6.6.6.6;branch=z9hG4bK{0}\r\n"
        "From: <sip:x@y>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: {0}\r\nCSeq: 1 MESSAGE\r\n\r\n"
    )
    agent.takes_messages = True
    for number in range(10_001):
        agent.receive_message(flood.format(number).encode(), stranger, pair.wire.now)
    agent.to_send(pair.wire.now)
    assert agent.dropped["too many transactions"] > 0
    pair.bob.send(their_request(ack, "BYE", 1), pair.alice)
    pair.wire.run(0.1)
    assert session.ended is not None
    assert session.ended.by == "remote"


def their_request(ack: Request, method: str, number: int, *more: tuple[str, str]) -> Request:
    """Bob's request in the dialog of the received ACK."""
    pairs = [
        ("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKt{number}"),
        ("Max-Forwards", "70"),
        ("From", str(ack.to)),
        ("To", str(ack.from_)),
        ("Call-ID", ack.call_id),
        ("CSeq", f"{number} {method}"),
        *more,
    ]
    return Request(method, Uri.parse("sip:alice@10.0.0.1"), Headers(pairs))


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("INVITE", [("Require", "telepathy")], 420),
        ("INVITE", [("Supported", "timer"), ("Session-Expires", "30")], 422),
        ("INVITE", [("Replaces", "none;to-tag=a;from-tag=b"), ("Require", "replaces")], 481),
        ("INVITE", [("From", "<sip:second@10.0.0.2>;tag=b2")], 400),
        ("BYE", [], 481),
        ("CANCEL", [], 481),
        ("OPTIONS", [], 200),
        ("PUBLISH", [], 405),
        ("SUBSCRIBE", [("Event", "weather")], 489),
        ("REFER", [("Refer-To", "<sip:x@10.0.0.9>")], 603),
    ],
)
def test_every_final_response_has_a_to_tag(
    scripted: Pair, method: str, headers: list[tuple[str, str]], status: int
) -> None:
    pair = scripted
    request = invite(*headers, body=offer())
    changed = request.headers.set("CSeq", f"1 {method}")
    pair.bob.send(Request(method, request.uri, changed, request.body), pair.alice)
    pair.wire.run(0.1)
    assert pair.bob.take(f"{status} {method}").to.tag  # RFC 3261 8.2.6.2


def test_a_response_after_its_flow_broke_is_handled(scripted: Pair) -> None:
    pair = scripted
    session = called(pair, invite(body=offer())).session
    agent = pair.alice.agent
    agent.transport_failed(pair.alice.flow_to(pair.bob), pair.wire.now)
    with pytest.raises(LocalProtocolError):
        session.answer(media("10.0.0.1"), pair.wire.now)
    assert session.state is SessionState.ENDED
    pair.hang_up(pair.alice, session)
    pair.quiet()


def test_a_refused_datagram_ends_only_its_transaction(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    first = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 180)
    pair.wire.run(0.1)
    agent = pair.alice.agent
    second = pair.call_unsent()
    refused = agent.to_send(pair.wire.now)
    assert len(refused) == 1
    agent.send_failed(refused[0], pair.wire.now)
    assert second.ended is not None
    assert second.ended.status == 503
    assert first.state is SessionState.RINGING
    # A connection, in contrast, is broken for all of its transactions.
    broken = replace(pair.alice.flow_to(pair.bob), transport="tcp")
    third = pair.call_unsent(broken)
    fourth = pair.call_unsent(broken)
    refused = agent.to_send(pair.wire.now)
    agent.send_failed(refused[0], pair.wire.now)
    assert third.ended is not None
    assert fourth.ended is not None
    assert first.state is SessionState.RINGING


def test_ended_calls_are_released(pair: Pair) -> None:
    live = pair.established()
    for _ in range(200):
        pair.alice.events.clear()
        pair.bob.events.clear()
        ours = pair.call()
        theirs = pair.incoming()
        pair.answer(theirs)
        pair.wire.run(0.1)
        pair.hang_up(pair.alice, ours)
        pair.wire.run(1)
        pair.wire.log.clear()
    pair.wire.run(60)
    pair.alice.events.clear()
    pair.bob.events.clear()
    assert live[0].state is SessionState.CONFIRMED
    for peer in (pair.alice, pair.bob):
        assert len(peer.agent.sessions) == 1
    del ours, theirs
    gc.collect()
    agents = (pair.alice.agent, pair.bob.agent)
    left = [one for one in gc.get_objects() if isinstance(one, Session) and one.context in agents]
    # The timer heap is cleaned only after it has grown; there were 400 sessions.
    assert len(left) < 100


def test_a_request_out_of_order_is_refused(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 200, body=sdp_answer)
    pair.wire.run(0.1)
    ack = pair.bob.take("ACK")
    assert isinstance(ack, Request)
    contact = ("Contact", "<sip:bob@10.0.0.2>")
    pair.bob.send(their_request(ack, "UPDATE", 7, contact), pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("200 UPDATE")
    late = their_request(ack, "UPDATE", 6, ("Contact", "<sip:bob@10.0.0.66>"))
    pair.bob.send(late, pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("500 UPDATE")  # RFC 3261 12.2.2
    assert session.dialog is not None
    assert session.dialog.target.host == "10.0.0.2"
    pair.bob.send(their_request(ack, "BYE", 5), pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("500 BYE")
    assert session.state is SessionState.CONFIRMED


@pytest.mark.parametrize(
    ("parameters", "port", "marks"),
    [
        (";rport", 40_000, ("10.0.0.2", "40000")),
        ("", 5070, (None, None)),
    ],
)
def test_responses_are_sent_where_the_via_says(
    scripted: Pair, parameters: str, port: int, marks: tuple[str | None, str | None]
) -> None:
    """RFC 3581 4: with ``rport`` to the source port, else to the port of the Via (18.2.2)."""
    pair = scripted
    request = invite(body=offer())
    via = f"SIP/2.0/UDP 10.0.0.2:5070;branch=z9hG4bKr{parameters}"
    request = request.replace(headers=request.headers.set("Via", via))
    agent = pair.alice.agent
    source = Flow("udp", pair.alice.address, ("10.0.0.2", 40_000))
    agent.receive_message(bytes(request), source, pair.wire.now)
    agent.handle_timer(pair.wire.now + 0.2)
    (trying,) = agent.to_send(pair.wire.now)
    assert trying.flow.remote == ("10.0.0.2", port)
    sent = Pair.read(trying)
    assert (sent.via.received, sent.via.rport) == marks


def test_an_rfc_2543_ack_ends_a_refusal(scripted: Pair) -> None:
    """RFC 3261 17.2.3: such an ACK is matched by other fields, and its To tag is ours."""
    pair = scripted
    request = invite(body=offer())
    via = "SIP/2.0/UDP 10.0.0.2:5060;branch=1"
    request = request.replace(headers=request.headers.set("Via", via))
    session = called(pair, request).session
    pair.hang_up(pair.alice, session, 486)
    pair.wire.run(0.1)
    ack = within(request, "ACK", 1, str(pair.bob.take("486 INVITE").to))
    pair.bob.send(ack.replace(headers=ack.headers.set("Via", via)), pair.alice)
    pair.wire.run(40)
    assert pair.kinds(pair.alice).count("486 INVITE") == 1
    pair.quiet()


@pytest.mark.parametrize("branch", ["z9hG4bKi1", "1"])
@pytest.mark.parametrize("name", ["From", "Call-ID", "CSeq"])
def test_a_request_with_two_callers_is_refused(scripted: Pair, branch: str, name: str) -> None:
    """Also where these fields identify its transaction, as with RFC 2543 peers."""
    pair = scripted
    request = invite(body=offer())
    headers = request.headers.set("Via", f"SIP/2.0/UDP 10.0.0.2:5060;branch={branch}")
    twice = headers.add(name, headers.get(name) or "")
    pair.bob.send(request.replace(headers=twice), pair.alice)
    pair.wire.run(0.1)
    assert pair.bob.take("400 INVITE")
    assert pair.alice.agent.dropped["rule broken"] == 1


@pytest.mark.parametrize("branch", ["z9hG4bKi1", "1"])
def test_an_ack_with_the_branch_of_its_invite_is_accepted(scripted: Pair, branch: str) -> None:
    """RFC 2543 peers do that, and some current ones; it acknowledges the 2xx nevertheless."""
    pair = scripted
    request = invite(body=offer())
    via = f"SIP/2.0/UDP 10.0.0.2:5060;branch={branch}"
    request = request.replace(headers=request.headers.set("Via", via))
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    ack = within(request, "ACK", 1, str(success.to))
    pair.bob.send(ack.replace(headers=ack.headers.set("Via", via)), pair.alice)
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED
    pair.wire.run(40)
    assert pair.kinds(pair.alice).count("200 INVITE") == 1


@pytest.mark.interpreted
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "REFER"])
def test_a_request_that_triggers_a_bug_gets_a_final_response(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Otherwise a re-INVITE would block the call permanently."""
    ours, theirs = pair.established()
    assert ours.dialog is not None

    def fail(*arguments: object) -> None:
        raise StopIteration

    monkeypatch.setattr("spech.sip.description.offer_answer.Negotiator.receive_offer", fail)
    monkeypatch.setattr("spech.sip.call.session.dtmf_digit", fail)
    monkeypatch.setattr("spech.sip.call.transfer.refer_to", fail)
    headers = [("Contact", "<sip:alice@10.0.0.1>"), ("Content-Type", "application/sdp")]
    via = pair.alice.agent.via(ours.dialog.flow)
    request = ours.dialog.request(method, via, headers=headers, body=offer())
    pair.alice.send(request, pair.bob)
    with pytest.raises(StopIteration):
        pair.wire.run(0.1)
    pair.wire.run(0.1)
    status = 200 if method == "INFO" else 500
    assert f"{status} {method}" in pair.kinds(pair.bob)
    monkeypatch.undo()
    ours.dialog.local_sequence += 1
    ours.hold(pair.wire.now)
    pair.wire.run(1)
    assert theirs.is_up
    assert pair.kinds(pair.bob).count("200 INVITE") == 2  # Of the call, and of the hold.


def test_a_response_needs_the_random_branch_of_its_request(scripted: Pair) -> None:
    """The source of a response is not compared, so the branch has to be hard to guess."""
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    branch = request.via.branch
    assert branch is not None
    assert len(branch.removeprefix("z9hG4bK")) * 4 == 80
    guess = branch[:-1] + ("0" if branch[-1] != "0" else "1")
    forged = request.replace(
        headers=request.headers.set(
            "Via", (request.headers.get("Via") or "").replace(branch, guess)
        )
    )
    pair.bob.send(response_to(forged, 603, to_tag="f"), pair.alice)
    pair.wire.run(0.1)
    assert session.ended is None
    assert pair.alice.agent.dropped["unneeded response"] == 1
    pair.bob.send(response_to(request, 603, to_tag="b"), pair.alice)
    pair.wire.run(0.1)
    assert session.ended is not None
