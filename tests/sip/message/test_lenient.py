"""Lenient parsing of From, To and Contact: errors in what a call does not need are ignored."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from spech.errors import RemoteProtocolError
from spech.sip.agent import UserAgent
from spech.sip.call.session import InviteReceived
from spech.sip.description.offer_answer import Negotiator
from spech.sip.description.payload_types import AudioFormat
from spech.sip.message.headers import NameAddr
from spech.sip.message.message import Request, Response
from spech.sip.message.parser import parse, validate
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

FLOW = Flow("udp", ("192.0.2.1", 5060), ("192.0.2.2", 5060))
SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n"
    "m=audio 5000 RTP/AVP 0\r\n"
)

WITHHELD = ["<sip:@192.0.2.2>", '"Anonymous" <sip:@192.0.2.2>', "sip:@192.0.2.2", "<sips:@h:5061>"]
QUOTED = [
    ('""unknown"" <sip:100@h>', '"unknown"'),
    ('"Bob "The Boss" Stone" <sip:100@h>', 'Bob "The Boss" Stone'),
    ('ACME 19" Racks <sip:100@h>', 'ACME 19" Racks'),
    ('"Sami\\" <sip:100@h>', "Sami\\"),
    ('"Sami\\ " <sip:100@h>', "Sami "),
    ('"A <b> "c" <sip:100@h>', 'A <b> "c'),
    ("Lift <3> <sip:100@h>", "Lift <3>"),
    ('"Mr. J. User <sip:100@h>', "Mr. J. User"),
]
BLANKS = [
    ("<sip:161 201 11111@h:5060>", "161%20201%2011111"),
    ("<sip:Front Door@h>", "Front%20Door"),
    ("<sip: 100 @h>", "100"),
    ('<sip:a"b@h>', "a%22b"),
    ("sip:161 201@h", "161%20201"),
    ("<sip:alice@home@h>", "alice%40home"),
]


@pytest.mark.parametrize("text", WITHHELD)
def test_a_withheld_number_is_not_a_user(text: str) -> None:
    found = NameAddr.read(f"{text};tag=1")
    assert (found.uri.user, found.tag) == (None, "1")


@pytest.mark.parametrize(("text", "name"), QUOTED)
def test_the_text_before_a_uri_is_the_display_name(text: str, name: str) -> None:
    found = NameAddr.read(f"{text};epid=2;tag=1")
    assert (found.display_name, found.uri.user, found.tag) == (name, "100", "1")


@pytest.mark.parametrize(("text", "user"), BLANKS)
def test_invalid_characters_in_a_user_are_escaped(text: str, user: str) -> None:
    found = NameAddr.read(f"{text};tag=1")
    assert (found.uri.user, found.uri.host, found.tag) == (user, "h", "1")


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ('<sip:a@h;x="y";lr>', "sip:a@h;lr"),
        ("<sip:a@h;;transport=tcp;a b>", "sip:a@h;transport=tcp"),
        ("<sip:a@h:>", "sip:a@h"),
        ('<sip:@h?Subject="x">', "sip:h"),
        ("<sip:a b@[2001:db8::1]:5062;lr>", "sip:a%20b@[2001:db8::1]:5062;lr"),
    ],
)
def test_unneeded_parts_of_a_uri_are_dropped(text: str, uri: str) -> None:
    assert str(NameAddr.read(text).uri) == uri


@pytest.mark.parametrize(
    "text",
    ['<sip:a@h>;x="y;tag=1', "<sip:a@h> ;;a b=c;tag=1", "<sip:a@h>rest;tag=1", "<sip:a@h>;é;tag=1"],
)
def test_unreadable_parameters_are_dropped(text: str) -> None:
    assert NameAddr.read(text).tag == "1"


@pytest.mark.parametrize(
    "text",
    ["", "x", "<x>", "<sip:>", "<sip:a@>", '"a" sip:a@h', "<sip:a@h", "<sip:a@h:70000>", "<sip:@>",
     "<sip:a@h:x>", "<tel:1 2>", "sip:a@h?x=y;tag=1", "<sip:a@b c>", '"a" <sip:a@"h">'],
)  # fmt: skip
def test_errors_in_needed_parts_are_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        NameAddr.read(text)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", [*WITHHELD, *(one for one, _ in (*QUOTED[:-1], *BLANKS))])
def test_leniently_read_values_are_written_strictly(text: str) -> None:
    found = NameAddr.read(f"{text};tag=1")
    assert NameAddr.parse(str(found)) == found
    assert Uri.parse(str(found.uri)) == found.uri


# Complete calls.


def invite(*, caller: str = "<sip:100@192.0.2.2>", contact: str = "<sip:100@192.0.2.2>") -> bytes:
    head = (
        "INVITE sip:alice@192.0.2.1 SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
        f"From: {caller};tag=1\r\nTo: <sip:alice@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
        f"Contact: {contact}\r\nContent-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
    )
    return f"{head}\r\n{SDP}".encode()


def media(number: int) -> Negotiator:
    return Negotiator([AudioFormat("PCMU", "PCMU", 8000, 0)], "192.0.2.1", 4000, number)


def answered_and_ended(data: bytes) -> Request:
    """The BYE of an incoming call that was answered, acknowledged and hung up."""
    agent = UserAgent(random.Random(1))
    agent.receive_message(data, FLOW, 0.0)
    incoming = agent.next_event()
    assert isinstance(incoming, InviteReceived), [
        parse(outgoing.data) for outgoing in agent.to_send(0.0)
    ]
    incoming.session.answer(media, 0.0)
    (ok,) = (parse(outgoing.data) for outgoing in agent.to_send(0.0))
    assert isinstance(ok, Response)
    assert ok.status == 200
    assert ok.headers.get("From") == parse(data).headers.get("From")
    ack = (
        "ACK sip:alice@192.0.2.1 SIP/2.0\r\n"
        "Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK2\r\nMax-Forwards: 70\r\n"
        f"From: {ok.headers.get('From')}\r\nTo: {ok.headers.get('To')}\r\nCall-ID: 1\r\n"
        "CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
    )
    agent.receive_message(ack.encode(), FLOW, 0.1)
    incoming.session.hang_up(0.2)
    (bye,) = (parse(outgoing.data) for outgoing in agent.to_send(0.2))
    assert isinstance(bye, Request)
    assert bye.method == "BYE"
    return bye


NAMES: list[str] = [text for text, _ in QUOTED]
USERS: list[str] = [text for text, _ in BLANKS]


@pytest.mark.parametrize("caller", [*WITHHELD, *NAMES, *USERS])
def test_calls_from_odd_addresses_ring_and_end(caller: str) -> None:
    bye = answered_and_ended(invite(caller=caller))
    NameAddr.parse(bye.headers.get("To") or "")  # Written strictly.
    assert bye.to.tag == "1"


@pytest.mark.parametrize(
    ("contact", "target"),
    [
        ("<sip:@192.0.2.2:5060>", "sip:192.0.2.2:5060"),
        ("<sip:161 201@192.0.2.2>", "sip:161%20201@192.0.2.2"),
        ('""unknown"" <sip:bob@192.0.2.2>', "sip:bob@192.0.2.2"),
        # Headers may not stand in a start line (RFC 3261 19.1.1).
        ("<sip:bob@192.0.2.2?X-Foo=bar&Subject=hi>", "sip:bob@192.0.2.2"),
        ("<sip:bob@192.0.2.2;lr?Route=%3Csip:x%3E>", "sip:bob@192.0.2.2;lr"),
    ],
)
def test_calls_with_odd_contacts_ring_and_end(contact: str, target: str) -> None:
    assert str(answered_and_ended(invite(contact=contact)).uri) == target


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"INVITE sip:alice@", b"INVITE sip:al ice@"),
        lambda data: data.replace(b"INVITE sip:alice@", b"INVITE sip:@"),
        lambda data: data.replace(b"INVITE sip:alice@", b'INVITE "a" <sip:alice@'),
    ],
)
def test_a_request_uri_is_read_strictly(change: Callable[[bytes], bytes]) -> None:
    agent = UserAgent(random.Random(1))
    agent.receive_message(change(invite()), FLOW, 0.0)
    (answer,) = (parse(outgoing.data) for outgoing in agent.to_send(0.0))
    assert isinstance(answer, Response)
    assert answer.status == 400


@pytest.mark.parametrize(
    "line", ["Contact: <x>", "Contact: <", "Route: x", "Record-Route: <y", "Expires: soon"]
)
@pytest.mark.parametrize("method", ["BYE", "OPTIONS", "MESSAGE", "INFO"])
def test_errors_in_headers_that_a_method_does_not_need_are_ignored(method: str, line: str) -> None:
    data = invite().replace(b"INVITE", method.encode()).partition(b"Contact:")[0]
    validate(parse(data + line.encode() + b"\r\n\r\n"))


@pytest.mark.parametrize("line", ["Expires: soon", "Route: x", "Date: x", "Max-Forwards: x"])
def test_errors_in_headers_that_a_response_does_not_need_are_ignored(line: str) -> None:
    head = invite().partition(b"\r\n")[2].partition(b"Content-Type:")[0]
    validate(parse(b"SIP/2.0 200 OK\r\n" + head + line.encode() + b"\r\n\r\n"))
