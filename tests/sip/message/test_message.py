"""Requests and responses: accessors, responses, wire form and summaries for logs."""

from __future__ import annotations

import pytest

from spech.errors import LocalProtocolError, RemoteProtocolError
from spech.sip.message.headers import CSeq, Headers
from spech.sip.message.message import REASONS, Request, Response, response_to
from spech.sip.message.parser import parse
from spech.sip.message.uri import Uri


def invite(*changes: tuple[str, str | None], body: bytes = b"") -> Request:
    """An INVITE with these headers set, or removed where the value is ``None``."""
    headers = Headers(
        [
            ("Via", "SIP/2.0/UDP one.example;branch=z9hG4bK1, SIP/2.0/UDP two.example;branch=2"),
            ("Via", "SIP/2.0/TCP three.example;branch=z9hG4bK3"),
            ("Max-Forwards", "70"),
            ("From", '"Alice" <sip:alice@example.com>;tag=a1'),
            ("To", "<sip:600@example.com>"),
            ("Call-ID", "1@example.com"),
            ("CSeq", "1 INVITE"),
            ("Contact", "<sip:alice@192.0.2.1:5062>"),
        ]
    )
    for name, value in changes:
        headers = headers.remove(name) if value is None else headers.set(name, value)
    return Request("INVITE", Uri("sip", "600", "example.com"), headers, body)


def test_accessors_parse_headers() -> None:
    request = invite(
        ("Route", "<sip:p1;lr>, <sip:p2;lr>"),
        ("Record-Route", "<sip:r1;lr>"),
        ("Expires", "60"),
        ("Contact", "<sip:a@h>, <sip:b@h>;q=0.1"),
    )
    assert [via.host for via in request.vias] == ["one.example", "two.example", "three.example"]
    assert request.via.branch == "z9hG4bK1"
    assert (request.from_.display_name, request.from_.tag) == ("Alice", "a1")
    assert (request.to.uri.user, request.to.tag) == ("600", None)
    assert request.call_id == "1@example.com"
    assert request.cseq == CSeq(1, "INVITE")
    assert request.contact is not None
    assert request.contact.uri.user == "a"
    assert len(request.contacts) == 2
    assert [route.uri.host for route in request.routes] == ["p1", "p2"]
    assert [route.uri.host for route in request.record_routes] == ["r1"]
    assert request.expires == 60


def test_optional_accessors_may_lack_their_headers() -> None:
    request = invite(("Contact", None))
    assert request.contact is None
    assert not request.contact_is_star
    assert request.routes == request.record_routes == ()
    assert request.expires is None


def test_a_star_contact_is_recognized() -> None:
    request = invite(("Contact", "*"))
    assert request.contact is None
    assert request.contact_is_star


@pytest.mark.parametrize(
    ("accessor", "name"),
    [
        ("via", "Via"),
        ("vias", "Via"),
        ("from_", "From"),
        ("to", "To"),
        ("call_id", "Call-ID"),
        ("cseq", "CSeq"),
    ],
)
@pytest.mark.parametrize("value", [None, "", ", ,", "\t"])
def test_missing_and_malformed_headers_raise(accessor: str, name: str, value: str | None) -> None:
    if name == "Call-ID" and value == ", ,":
        value = None
    if name == "Via" and accessor == "vias" and value == ", ,":
        value = "nonsense"
    with pytest.raises(RemoteProtocolError) as caught:
        getattr(invite((name, value)), accessor)
    assert caught.value.status == 400


@pytest.mark.parametrize("value", ["", "soon", "-1", "1.5", "4294967296", "9" * 6000])
def test_malformed_expires_raises(value: str) -> None:
    with pytest.raises(RemoteProtocolError):
        _ = invite(("Expires", value)).expires


def test_a_malformed_foreign_contact_does_not_invalidate_a_response() -> None:
    headers = Headers([("Contact", "<sip:ours@h>, <broken>, *, <sip:other@h>")])
    response = Response(200, "OK", headers)
    assert [contact.uri.user for contact in response.contacts] == ["ours", "other"]
    with pytest.raises(RemoteProtocolError):
        _ = invite(("Contact", "<sip:ours@h>, <broken>")).contact


def test_the_wire_form_has_a_content_length() -> None:
    request = invite(("Content-Length", "99"), body=b"1234")
    wire = bytes(request)
    assert wire.startswith(b"INVITE sip:600@example.com SIP/2.0\r\nVia: ")
    assert wire.endswith(b"\r\nContent-Length: 4\r\n\r\n1234")
    assert wire.count(b"Content-Length") == 1
    response = Response(200, "OK", Headers([("Subject", "ü")]))
    assert bytes(response) == b"SIP/2.0 200 OK\r\nSubject: \xc3\xbc\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "message",
    [
        Request("IN VITE", Uri("sip", None, "h"), Headers()),
        Request("BYE\r\nX: y", Uri("sip", None, "h"), Headers()),
        Request("", Uri("sip", None, "h"), Headers()),
        Request("BYE", Uri("sip", None, "h"), Headers(), version="SIP/2.0\r\nX: y"),
        Response(200, "OK\r\nX: y", Headers()),
        Response(200, "O\nK", Headers()),
        Response(99, "Low", Headers()),
        Response(700, "High", Headers()),
        Response(200, "OK", Headers(), version="HTTP/1.1"),
    ],
)
def test_start_lines_cannot_contain_line_breaks(message: Request | Response) -> None:
    with pytest.raises(LocalProtocolError):
        bytes(message)


def test_replace_creates_a_changed_message() -> None:
    request = invite()
    uri = Uri("sip", None, "other")
    changed = request.replace(method="BYE", uri=uri, headers=Headers(), body=b"x")
    assert changed == Request("BYE", uri, Headers(), b"x")
    assert request.replace() == request
    response = Response(200, "OK", Headers())
    assert response.replace(status=486, reason="", body=b"x") == Response(486, "", Headers(), b"x")
    assert response.replace(headers=request.headers).cseq == request.cseq
    # Cached values of accessors belong to the old message.
    assert request.cseq.number == 1
    assert request.replace(headers=request.headers.set("CSeq", "2 INVITE")).cseq.number == 2


def test_a_response_copies_the_required_headers() -> None:
    request = invite(("Record-Route", "<sip:r1;lr>"), ("Timestamp", "54"))
    response = response_to(
        request,
        200,
        to_tag="b2",
        headers=[("Contact", "<sip:us@h>")],
        body=b"v=0\r\n",
        content_type="application/sdp",
    )
    assert (response.status, response.reason) == (200, "OK")
    assert response.headers.get_all("Via") == request.headers.get_all("Via")
    for name in ("From", "Call-ID", "CSeq", "Record-Route"):
        assert response.headers.get_all(name) == request.headers.get_all(name)
    assert response.headers.get("To") == "<sip:600@example.com>;tag=b2"
    assert response.headers.get("Contact") == "<sip:us@h>"
    assert response.headers.get("Content-Type") == "application/sdp"
    assert "Max-Forwards" not in response.headers
    assert "Timestamp" not in response.headers
    assert parse(bytes(response)).body == b"v=0\r\n"


def test_a_100_has_the_timestamp_and_no_record_route() -> None:
    request = invite(("Record-Route", "<sip:r1;lr>"), ("Timestamp", "54"))
    response = response_to(request, 100)
    assert response.reason == "Trying"
    assert response.headers.get("Timestamp") == "54"
    assert "Record-Route" not in response.headers
    assert response.to.tag is None


def test_refusals_have_no_record_route() -> None:
    assert "Record-Route" not in response_to(invite(("Record-Route", "<sip:r>")), 486).headers


def test_a_tag_is_never_added_twice() -> None:
    request = invite(("To", "<sip:600@example.com>;tag=old"))
    assert response_to(request, 200, to_tag="new").to.tag == "old"
    request = invite(("To", '"a;tag=b" <sip:600@example.com;tag=c>'))
    assert response_to(request, 200, to_tag="new").to.tag == "new"
    request = invite(("To", "sip:600@example.com"))
    assert response_to(request, 200, to_tag="new").to.tag == "new"


def test_malformed_requests_can_be_answered() -> None:
    request = invite(("To", "<broken"), ("From", None), ("CSeq", "x"))
    response = response_to(request, 400, "Bad CSeq", to_tag="t")
    assert response.reason == "Bad CSeq"
    assert response.headers.get("To") == "<broken;tag=t"
    assert response.headers.get("CSeq") == "x"
    assert "From" not in response.headers
    bytes(response)


def test_statuses_have_reason_phrases() -> None:
    request = invite()
    assert response_to(request, 299).reason == "Unknown"
    assert response_to(request, 486).reason == REASONS[486] == "Busy Here"
    assert all(100 <= status <= 699 for status in REASONS)


def test_a_summary_is_one_line_without_secrets() -> None:
    request = invite(
        ("Authorization", 'Digest username="alice", response="0123456789"'),
        ("Proxy-Authorization", 'Digest username="alice", response="0123456789"'),
        ("From", "<sip:alice:hunter2@example.com>;tag=1"),
        ("Content-Type", "application/sdp"),
        body=b"123",
    ).replace(uri=Uri("sip", "600", "h", password="hunter2"))
    line = request.summary()
    assert "hunter2" not in line
    assert "0123456789" not in line
    assert "INVITE sip:600:***@h" in line
    assert "Authorization=Digest ***" in line
    assert "3 bytes of application/sdp" in line
    assert "hunter2" not in repr(request)
    assert "0123456789" not in repr(request)


def test_a_summary_is_short_and_has_no_control_characters() -> None:
    request = invite(("From", f"{'x' * 4000} \x85\u2028\u202e <sip:a@b>"))
    assert len(request.summary()) < 1000
    request = invite(("From", "\x9b2J\u2028\u202e <sip:a@b>"))
    assert request.summary().isprintable()


def test_a_response_has_a_summary() -> None:
    line = response_to(invite(), 486).summary()
    assert line.startswith("486 Busy Here | CSeq=1 INVITE | Call-ID=1@example.com")
