"""Multipart bodies (RFC 5621), and optional parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spech.sip import events
from spech.sip.call.states import SessionState
from spech.sip.message.body import opened
from spech.sip.message.message import Request, response_to

from ..conftest import Pair, called, invite, media, within

OFFER = media("10.0.0.2", 5000)(1).offer()


def part(kind: str, content: bytes, disposition: str | None = None) -> bytes:
    lines = [f"Content-Type: {kind}"]
    if disposition is not None:
        lines.append(f"content-disposition : {disposition}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


SDP = part("application/sdp", OFFER)
ISUP = part("application/ISUP;version=itu-t92+", b"\x01\x00\x49\r\n--", "signal;handling=optional")
MUST = part("application/ISUP", b"\x01\x00", "signal;handling=required")
LOCATION = part("application/pidf+xml", b"<presence/>")
REFERRED = part("application/pidf+xml", b"<presence/>", "by-reference")
ICON = part("image/png", b"\x89PNG", "icon")


def whole(*parts: bytes) -> bytes:
    return b"preamble" + b"".join(b"\r\n--x y\r\n" + one for one in parts) + b"\r\n--x y--\r\nend"


def carried(kind: str, body: bytes, disposition: str | None = None) -> Request:
    request = invite(body=body)
    headers = request.headers.set("Content-Type", kind)
    if disposition is not None:
        headers = headers.add("Content-Disposition", disposition)
    return request.replace(headers=headers)


MIXED = 'multipart/mixed;boundary="x y"'


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        (carried("application/sdp", OFFER), OFFER),
        (carried("application/sdp", OFFER, "session"), OFFER),
        (carried("application/sdp", OFFER, "early-session;handling=optional"), b""),
        (carried("application/sdp", OFFER, "early-session"), None),
        (carried("application/ISUP", b"\x01", "signal;handling=optional"), b""),
        (carried("application/ISUP", b"\x01"), None),
        (carried(MIXED, whole(SDP, ISUP)), OFFER),
        (carried(MIXED, whole(ISUP, SDP)), OFFER),
        (carried(MIXED, whole(LOCATION, SDP)), OFFER),
        (carried(MIXED, whole(SDP, REFERRED)), OFFER),
        (carried(MIXED, whole(SDP, ICON)), OFFER),
        (carried(MIXED, whole(part("application/sdp", OFFER, "early-session"), SDP)), OFFER),
        (carried('multipart/related;boundary="x y"', whole(SDP, LOCATION)), OFFER),
        (carried(MIXED, whole(SDP, MUST)), None),
        (carried(MIXED, whole(LOCATION)), None),
        (carried(MIXED, whole(ISUP)), None),
        (carried(MIXED, whole(ISUP), "render;handling=optional"), b""),
        (carried('multipart/alternative; boundary="x y"', whole(MUST, SDP)), OFFER),
        (carried("multipart/mixed", whole(SDP)), None),
        (carried('multipart/mixed;boundary="', whole(SDP)), None),
        (carried(MIXED, whole(part("multipart/mixed;boundary=z", b"--z\r\n" + SDP))), None),
        (carried(MIXED, b"--x y"), None),
    ],
)
def test_the_wanted_part_is_found_in_a_body(request_: Request, found: bytes | None) -> None:
    """None means that the body is not changed, and is refused."""
    result = opened(request_)
    if found is None or found == request_.body:
        assert result is request_
    else:
        assert result.body == found
        assert result.headers.get("Content-Type") == ("application/sdp" if found else None)


@given(
    st.binary(max_size=300),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
)
def test_any_body_raises_only_protocol_errors(body: bytes, boundary: str) -> None:
    for text in (boundary, f";boundary={boundary}"):
        kind = f"multipart/mixed{text}"
        request = carried("x", whole(SDP)[:50] + body)
        opened(request.replace(headers=request.headers.set("Content-Type", kind.strip())))


def test_a_multipart_invite_and_ack_are_read(scripted: Pair) -> None:
    """Both its INVITE and its ACK have two parts."""
    pair = scripted
    session = called(pair, carried(MIXED, whole(ISUP, SDP))).session
    session.answer(media("10.0.0.1"), pair.wire.now)
    pair.wire.run(0.1)
    answered = pair.find(pair.alice, events.Answered)
    assert isinstance(answered, events.Answered)
    assert answered.agreed is not None
    assert answered.agreed.remote == ("10.0.0.2", 5000)
    to = str(pair.bob.take("200 INVITE").to)
    pair.bob.send(within(carried(MIXED, b""), "ACK", 1, to), pair.alice)
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED


def test_a_multipart_answer_is_read(scripted: Pair, sdp_answer: bytes) -> None:
    pair = scripted
    session = pair.call()
    pair.wire.run(0.1)
    request = pair.bob.take("INVITE")
    assert isinstance(request, Request)
    body = whole(part("application/sdp", sdp_answer), ISUP)
    headers = [("Contact", "<sip:bob@10.0.0.2>")]
    success = response_to(request, 200, to_tag="b1", headers=headers, body=body, content_type=MIXED)
    pair.bob.send(success, pair.alice)
    pair.wire.run(0.1)
    assert session.state is SessionState.CONFIRMED


def test_unknown_required_parts_are_refused(scripted: Pair) -> None:
    scripted.bob.send(carried(MIXED, whole(SDP, MUST)), scripted.alice)
    scripted.wire.run(0.1)
    assert scripted.bob.take("415 INVITE").headers.get("Accept") == "application/sdp"
