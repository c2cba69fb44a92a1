"""Timeouts, retransmissions and their end; offers that wait for their turn."""

from __future__ import annotations

from typing import Any

import pytest

from spech.sip.call.session import Session
from spech.sip.call.states import SessionState
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.uri import Uri
from spech.sip.transaction.timers import TimerSet

from ..conftest import PCMU, Pair, called, invite, media, within

SDP = "application/sdp"
CONTACT = ("Contact", "<sip:bob@10.0.0.2>")


def offer() -> bytes:
    return media("10.0.0.2", 5000)(1).offer()


def up(pair: Pair, sdp_answer: bytes, *headers: tuple[str, str]) -> Session:
    """Alice's call, answered by the test with these headers."""
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    success = response_to(
        request, 200, to_tag="b1", headers=[CONTACT, *headers], body=sdp_answer, content_type=SDP
    )
    pair.bob.send(success, pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("ACK")
    return session


def refuse(pair: Pair, request: Request | Response, status: int, *headers: tuple[str, str]) -> None:
    assert isinstance(request, Request)
    pair.bob.send(response_to(request, status, to_tag="b1", headers=headers), pair.alice)
    pair.wire.run(0.1)


# ---------------------------------------------------------------------- ringing


@pytest.mark.parametrize(
    ("headers", "seconds", "status"), [([("Expires", "60")], 60, 487), ([], 180, 480)]
)
def test_ringing_is_limited_in_time(
    scripted: Pair, headers: list[tuple[str, str]], seconds: int, status: int
) -> None:
    pair = scripted
    session = called(pair, invite(*headers, body=offer())).session
    session.ring(pair.wire.now)
    pair.wire.run(seconds - 1)
    assert session.state is SessionState.INCOMING
    assert pair.kinds(pair.alice).count("180 INVITE") == -(-seconds // 60)  # Each minute.
    pair.wire.run(2)
    pair.bob.take(f"{status} INVITE")  # RFC 3261 13.3.1
    pair.quiet()


def test_a_cancel_without_a_final_response_times_out(scripted: Pair) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("INVITE"), 180)
    pair.wire.run(0.1)
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("CANCEL"), 200)
    pair.wire.run(31)
    assert not pair.alice.agent.idle
    pair.wire.run(2)  # 64*T1 (RFC 3261 9.1)
    assert pair.alice.agent.idle
    assert session.state is SessionState.ENDED
    pair.quiet()


# ---------------------------------------------------------------------- PRACK


@pytest.mark.parametrize("number", [2, 3])
def test_a_prack_after_the_200_is_accepted(scripted: Pair, number: int) -> None:
    pair = scripted
    request = invite(("Require", "100rel"), body=offer())
    session = called(pair, request).session
    session.ring(pair.wire.now)
    pair.wire.run(0.1)
    ringing = pair.bob.take("180 INVITE")
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    to = str(ringing.to)
    rack = ("RAck", f"{ringing.headers.get('RSeq')} 1 INVITE")
    pair.bob.send(within(request, "PRACK", number, to, rack), pair.alice)
    pair.wire.run(0.1)
    pair.bob.take("200 PRACK")
    pair.bob.send(within(request, "ACK", 1, to), pair.alice)
    pair.wire.run(40)
    assert session.state is SessionState.CONFIRMED
    assert pair.kinds(pair.alice).count("180 INVITE") == 1


def test_cseq_continues_from_the_early_dialog(scripted: Pair, sdp_answer: bytes) -> None:
    """PRACK used a CSeq; the dialog recreated by the 2xx must not reuse it."""
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    headers = [CONTACT, ("Require", "100rel"), ("RSeq", "5")]
    pair.bob.send(response_to(request, 183, to_tag="b1", headers=headers), pair.alice)
    pair.wire.run(0.1)
    prack = pair.bob.take("PRACK")
    pair.reply(prack, 200)
    pair.reply(request, 200, body=sdp_answer)
    pair.wire.run(0.1)
    assert pair.bob.take("ACK").cseq.number == request.cseq.number
    pair.hang_up(pair.alice, session)
    pair.wire.run(0.1)
    assert prack.cseq.number == request.cseq.number + 1
    assert pair.bob.take("BYE").cseq.number == request.cseq.number + 2


def test_a_reinvite_does_not_require_reliable_responses(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = up(pair, sdp_answer)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    assert "100rel" not in pair.bob.take("INVITE").headers.values("Supported")


# ---------------------------------------------------------------------- re-INVITE refused


@pytest.mark.parametrize("status", [408, 481])
def test_a_481_to_a_reinvite_ends_the_call(scripted: Pair, sdp_answer: bytes, status: int) -> None:
    pair = scripted
    session = up(pair, sdp_answer)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    refuse(pair, pair.bob.take("INVITE"), status)
    assert session.ended is not None  # RFC 3261 12.2.1.2
    pair.bob.take("ACK")
    pair.reply(pair.bob.take("BYE"), 481)
    pair.quiet()


@pytest.mark.parametrize("status", [488, 500, 606])
def test_a_refused_reinvite_keeps_the_call(scripted: Pair, sdp_answer: bytes, status: int) -> None:
    pair = scripted
    session = up(pair, sdp_answer)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    refuse(pair, pair.bob.take("INVITE"), status)
    pair.wire.run(60)
    assert session.state is SessionState.CONFIRMED  # RFC 3261 14.1


def test_a_postponed_hold_is_retried(scripted: Pair, sdp_answer: bytes) -> None:
    """RFC 3261 14.2: the peer waits for our last ACK, and sends Retry-After."""
    pair = scripted
    session = up(pair, sdp_answer)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    refuse(pair, pair.bob.take("INVITE"), 500, ("Retry-After", "3 (not yet);duration=9"))
    pair.wire.run(2.8)
    assert pair.kinds(pair.alice).count("INVITE") == 2
    pair.wire.run(0.2)
    assert b"a=sendonly" in pair.bob.take("INVITE").body


def test_an_overtaken_hold_is_retried(scripted: Pair, sdp_answer: bytes) -> None:
    """RFC 3261 12.2.2: a request after one with a higher CSeq is refused with 500."""
    pair = scripted
    session = up(pair, sdp_answer)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    session.transfer(Uri.parse("sip:carol@10.0.0.3"), pair.wire.now)
    pair.wire.run(0.1)
    pair.reply(pair.bob.take("REFER"), 603)
    refuse(pair, request, 500)
    pair.wire.run(1.1)
    again = pair.bob.take("INVITE")
    assert b"a=sendonly" in again.body
    assert again.cseq.number == request.cseq.number + 2


def test_a_change_is_not_postponed_forever(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = up(pair, sdp_answer)
    session.hold(pair.wire.now)
    pair.wire.run(0.1)
    for _ in range(6):
        refuse(pair, pair.bob.take("INVITE"), 500, ("Retry-After", "1"))
        pair.wire.run(1.2)
    pair.wire.run(60)
    assert session.state is SessionState.CONFIRMED
    assert pair.kinds(pair.alice).count("INVITE") == 7


def test_a_hold_waits_for_the_ack_of_the_peers_change(pair: Pair) -> None:
    ours, theirs = pair.established()
    pair.wire.drop = lambda packet: packet.kind == "ACK"
    theirs.hold(pair.wire.now)
    pair.wire.run(0.1)
    sent = pair.kinds(pair.alice).count("INVITE")
    ours.hold(pair.wire.now)
    pair.wire.run(0.2)
    assert pair.kinds(pair.alice).count("INVITE") == sent  # RFC 3261 14.1
    pair.wire.drop = lambda packet: False
    pair.wire.run(5)
    assert pair.kinds(pair.alice).count("INVITE") == sent + 1
    assert ours.state is SessionState.CONFIRMED
    assert theirs.state is SessionState.CONFIRMED


# ---------------------------------------------------------------------- session timers


def test_a_refused_refresh_is_retried(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    timed = ("Session-Expires", "1800;refresher=uac")
    session = up(pair, sdp_answer, timed, ("Require", "timer"), ("Allow", "INVITE, UPDATE, BYE"))
    pair.wire.run(900)
    for _ in range(3):
        refuse(pair, pair.bob.take("UPDATE"), 500, ("Retry-After", "5"))
        pair.wire.run(10)
    update = pair.bob.take("UPDATE")
    assert isinstance(update, Request)
    pair.bob.send(
        response_to(update, 200, to_tag="b1", headers=[CONTACT, timed, ("Require", "timer")]),
        pair.alice,
    )
    pair.wire.run(899)
    assert session.state is SessionState.CONFIRMED
    pair.wire.run(3)
    pair.bob.take("UPDATE")  # The interval starts with the answer.


@pytest.mark.parametrize("allow", ["INVITE, UPDATE, BYE", "INVITE, BYE"])
def test_a_refresh_refused_with_422_is_repeated_with_a_longer_interval(
    scripted: Pair, sdp_answer: bytes, allow: str
) -> None:
    pair = scripted
    timed = ("Session-Expires", "1800;refresher=uac")
    session = up(pair, sdp_answer, timed, ("Require", "timer"), ("Allow", allow))
    pair.wire.run(900)
    method = "UPDATE" if "UPDATE" in allow else "INVITE"
    refuse(pair, pair.bob.take(method), 422, ("Min-SE", "3600"))
    again = pair.bob.take(method)
    assert again.headers.get("Session-Expires") == "3600;refresher=uac"
    assert again.headers.get("Min-SE") == "3600"
    assert bool(again.body) is (method == "INVITE")
    assert session.state is SessionState.CONFIRMED


def test_the_callee_refreshes_if_the_answer_says_so(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    timed = ("Session-Expires", "1800;refresher=uas")
    session = up(pair, sdp_answer, timed, ("Require", "timer"), ("Allow", "INVITE, UPDATE, BYE"))
    pair.wire.run(1700)
    assert "UPDATE" not in pair.kinds(pair.alice)
    pair.wire.run(100)
    pair.bob.take("BYE")  # No refresh arrived (RFC 4028 10).
    assert session.ended is not None


@pytest.mark.parametrize(
    ("supported", "asked", "told", "ours"),
    [
        ("timer", ";refresher=uas", "1800;refresher=uas", True),
        ("timer", ";refresher=uac", "1800;refresher=uac", False),
        ("timer", "", "1800;refresher=uac", False),
        ("100rel", "", "1800;refresher=uas", True),
    ],
)
def test_the_refresher_of_an_incoming_call_is_negotiated(
    scripted: Pair, supported: str, asked: str, told: str, ours: bool
) -> None:
    pair = scripted
    timed = [("Supported", supported), ("Session-Expires", f"1800{asked}")]
    request = invite(*timed, ("Allow", "INVITE, UPDATE, BYE"), body=offer())
    session = called(pair, request).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    success = pair.bob.take("200 INVITE")
    assert success.headers.get("Session-Expires") == told
    pair.bob.send(within(request, "ACK", 1, str(success.to)), pair.alice)
    pair.wire.run(905)
    assert ("UPDATE" in pair.kinds(pair.alice)) is ours


# ---------------------------------------------------------------------- offers in a running call


def media_lines(body: bytes) -> list[str]:
    return [line for line in body.decode().splitlines() if line.startswith("m=")]


def test_later_offers_keep_all_media_lines() -> None:
    ours = media("10.0.0.1")(1)
    ours.receive_offer(offer().replace(b"m=audio", b"m=video 6000 RTP/AVP 31\r\nm=audio", 1))
    ours.direction = "sendonly"
    lines = media_lines(ours.offer())
    assert len(lines) == 2  # RFC 3264 8
    assert lines[0].startswith("m=video 0")
    assert lines[1].startswith("m=audio 4000")


def test_an_unsupported_stream_is_refused_in_its_position() -> None:
    two = offer().replace(b"m=audio 5000", b"m=audio 5002 RTP/SAVP 0\r\nm=audio 5000", 1)
    body, agreed = media("10.0.0.1")(1).receive_offer(two)
    lines = media_lines(body)
    assert lines[0].startswith("m=audio 0 RTP/SAVP")
    assert lines[1].startswith("m=audio 4000 RTP/AVP")
    assert agreed.remote == ("10.0.0.2", 5000)


THEIRS = (
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\n"
    b"m=audio 5000 RTP/AVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\n"
)


def test_a_payload_type_never_changes_its_meaning() -> None:
    wide = AudioFormat("L16/16000", "L16", 16_000)
    ours = Negotiator([PCMU, wide], "10.0.0.1", 4000, 1)
    assert "rtpmap:96 L16" in ours.offer().decode()
    ours.receive_offer(THEIRS)
    again = ours.offer().decode()
    assert "rtpmap:96 telephone-event/8000" in again  # RFC 3264 8.3.2
    assert "rtpmap:96 L16" not in again


def test_digits_use_the_payload_type_of_each_direction() -> None:
    ours = Negotiator([PCMU], "10.0.0.1", 4000, 1)
    ours.offer()
    agreed = ours.receive_answer(THEIRS)
    assert (agreed.telephone_event_send, agreed.telephone_event_receive) == (96, 101)


def test_rtcp_next_to_the_last_port_is_handled() -> None:
    _, agreed = media("10.0.0.1")(1).receive_offer(media("10.0.0.2", 65_535)(1).offer())
    assert agreed.remote_rtcp[1] <= 65_535


# ---------------------------------------------------------------------- the heap


def test_disarmed_timers_are_swept() -> None:
    timers: Any = TimerSet()
    for number in range(10_000):
        timers.set("call", str(number), 1e6 + number)
        timers.clear("call", str(number))
        timers.set("session", "refresh", 1e6)
    assert len(timers) == 1
    assert len(timers._heap) < 200
    assert timers.next_at() == 1e6
