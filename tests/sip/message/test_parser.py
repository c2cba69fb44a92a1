"""The parser accepts whatever can be understood; the validator checks the rules."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spech.errors import RemoteProtocolError
from spech.sip.message.headers import Headers
from spech.sip.message.message import Request, Response, response_to
from spech.sip.message.parser import MAX_HEADERS, MAX_LINE, MAX_MESSAGE, parse, validate
from spech.sip.message.uri import Uri

PROPERTY = settings(deadline=None, derandomize=True, database=None)

BODY = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\n"
INVITE = (
    b"INVITE sip:600@192.0.2.9 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@example.com>;tag=a1\r\n'
    b"To: <sip:600@example.com>\r\n"
    b"Call-ID: 1@192.0.2.1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1>\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n" % len(BODY)
) + BODY


def request(data: bytes) -> Request:
    message = parse(data)
    assert isinstance(message, Request)
    return message


def test_a_request_is_parsed() -> None:
    message = request(INVITE)
    validate(message)
    assert message.method == "INVITE"
    assert message.uri == Uri("sip", "600", "192.0.2.9")
    assert message.body == BODY
    assert message.from_.display_name == "Alice"
    assert bytes(message) == INVITE


def test_a_response_is_parsed() -> None:
    message = parse(b"SIP/2.0 183 Session Progress, really\r\nCall-ID: 1\r\n\r\n")
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (183, "Session Progress, really")
    assert message.body == b""


@pytest.mark.parametrize("line", [b"SIP/2.0 200", b"SIP/2.0 200 ", b"sip/2.0 200 "])
def test_a_reason_may_be_missing(line: bytes) -> None:
    message = parse(line + b"\r\n\r\n")
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.version) == (200, "", "SIP/2.0")


# One message in equivalent spellings.
@pytest.mark.parametrize(
    "data",
    [
        INVITE,
        b"\r\n\r\n" + INVITE,
        b"\n" + INVITE,
        INVITE.split(b"\r\n\r\n")[0].replace(b"\r\n", b"\n") + b"\n\n" + BODY,
        INVITE.split(b"\r\n\r\n")[0] + b"\n\r\n" + BODY,
        INVITE.split(b"\r\n\r\n")[0] + b"\r\n\n" + BODY,
        INVITE + b"trailing bytes",
        INVITE.replace(b"Content-Length: ", b"l:"),
        INVITE.replace(b"Content-Length: ", b"CONTENT-LENGTH \t : \t "),
        INVITE.replace(b"Via: ", b"v:")
        .replace(b"From:", b"f:")
        .replace(b"To:", b"t:")
        .replace(b"Call-ID:", b"I:")
        .replace(b"Contact:", b"m:")
        .replace(b"Content-Type:", b"c:"),
        INVITE.replace(b"SIP/2.0\r\n", b"sip/2.0\r\n", 1),
    ],
)
def test_equivalent_spellings_are_read_equally(data: bytes) -> None:
    assert request(data) == request(INVITE)


def test_folded_lines_are_unfolded() -> None:
    data = INVITE.replace(
        b" <sip:alice@example.com>;tag", b"\r\n <sip:alice@example.com>\r\n\t;tag"
    )
    assert request(data).from_ == request(INVITE).from_
    head = data.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n")
    assert request(head + b"\n\n" + BODY).from_ == request(INVITE).from_


def test_the_end_of_the_head_may_be_missing() -> None:
    assert request(b"OPTIONS sip:x SIP/2.0\r\nCall-ID: 1\r\n").call_id == "1"
    assert request(b"OPTIONS sip:x SIP/2.0\r\nCall-ID: 1").call_id == "1"
    assert request(b"OPTIONS sip:x SIP/2.0").headers == Headers()


def test_without_content_length_the_rest_is_the_body() -> None:
    assert request(b"MESSAGE sip:x SIP/2.0\r\n\r\nhello\r\n\r\nthere").body == b"hello\r\n\r\nthere"


def test_equal_content_lengths_are_accepted() -> None:
    data = b"MESSAGE sip:x SIP/2.0\r\nContent-Length: 2\r\nl: 2\r\n\r\nhello"
    assert request(data).body == b"he"


def test_text_that_is_not_utf8_is_read_as_latin1() -> None:
    message = request(INVITE.replace(b"Alice", b"J\xfcrgen \xff\xfe"))
    assert message.from_.display_name == "Jürgen ÿþ"
    validate(message)
    assert parse(bytes(message)) == message.replace(
        headers=message.headers.remove("Content-Length").add("Content-Length", str(len(BODY)))
    )


def test_the_body_is_not_changed() -> None:
    body = bytes(range(256))
    data = b"MESSAGE sip:x SIP/2.0\r\nContent-Length: 256\r\n\r\n" + body
    assert request(data).body == body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"\x00" * 20,
        b"\x80\x00\x00\x00\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"INVITE sip:x\r\n\r\n",
        b"INVITE  sip:x SIP/2.0\r\n\r\n",
        b"INVITE sip:x SIP/2.0 y\r\n\r\n",
        b"INVITE <sip:x> SIP/2.0\r\n\r\n",
        b"INVITE sip:x y SIP/2.0\r\n\r\n",
        b"IN\xc3\xa4VITE sip:x SIP/2.0\r\n\r\n",
        b"SIP/2.0 99 Low\r\n\r\n",
        b"SIP/2.0 700 High\r\n\r\n",
        b"SIP/2.0 20 OK\r\n\r\n",
        b"SIP/2.0 2000 OK\r\n\r\n",
        b"SIP/2.0200 OK\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nno colon\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nVia\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n: x\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nCall ID: x\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nC\xc3\xa4ll: x\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nSubject: a\rEvil: b\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nSubject: a\x00b\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nSubject: a\x1b[2J\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nl: 5\r\n\r\n1234",
        b"OPTIONS sip:x SIP/2.0\r\nl: 5\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nl: -1\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nl: +1\r\n\r\n1",
        b"OPTIONS sip:x SIP/2.0\r\nl: 0x1\r\n\r\n1",
        b"OPTIONS sip:x SIP/2.0\r\nl: 1, 1\r\n\r\n1",
        b"OPTIONS sip:x SIP/2.0\r\nl:\r\n\r\n1",
        b"OPTIONS sip:x SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n12",
        b"OPTIONS sip:x SIP/2.0\r\nl: " + b"9" * 5000 + b"\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
        b"OPTIONS sip:x SIP/2.0\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nSubject: " + b"x" * MAX_LINE + b"\r\n\r\n",
        b"OPTIONS sip:x SIP/2.0\r\nSubject: x" + b"\r\n y" * MAX_LINE + b"\r\n\r\n",
        b"OPTIONS sip:" + b"x" * MAX_LINE + b" SIP/2.0\r\n\r\n",
    ],
)
def test_malformed_input_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        parse(data)
    assert caught.value.status in (400, 513)


def test_limits_are_inclusive() -> None:
    assert len(request(b"OPTIONS sip:x SIP/2.0\r\n" + b"a: b\r\n" * MAX_HEADERS + b"\r\n").headers)
    line = b"Subject: ".ljust(MAX_LINE, b"x")
    assert request(b"OPTIONS sip:x SIP/2.0\r\n" + line + b"\r\n\r\n").headers.get("s")
    head = b"MESSAGE sip:x SIP/2.0\r\n\r\n"
    assert len(request(head.ljust(MAX_MESSAGE, b"x")).body) == MAX_MESSAGE - len(head)
    with pytest.raises(RemoteProtocolError) as caught:
        parse(head.ljust(MAX_MESSAGE + 1, b"x"))
    assert caught.value.status == 513


@pytest.mark.parametrize("blank", [b" ", b"\t", b",", b'"', b"<", b";", b"\\", b"("])
def test_a_long_run_of_one_character_costs_linear_time(blank: bytes) -> None:
    # With a quadratic pattern, these few would take minutes.
    run = blank * (MAX_LINE - 100)
    for name in (b"Via: SIP/2.0/UDP x", b"From: <sip:x>", b"Contact: ", b"Route: x", b"CSeq: 1"):
        data = INVITE.replace(b"Call-ID: ", name + run + b"x\r\n y\r\nCall-ID: ")
        with suppress(RemoteProtocolError):
            validate(parse(data))


def test_every_truncation_is_read_or_refused() -> None:
    for length in range(len(INVITE)):
        with suppress(RemoteProtocolError):
            validate(parse(INVITE[:length]))
    for length in range(INVITE.index(b"\r\n\r\n") + 4, len(INVITE)):
        with pytest.raises(RemoteProtocolError):
            parse(INVITE[:length])


# A change of the INVITE, and the status that answers it.
JUDGED = [
    (b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia", 505),
    (b"Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\n", b"", 400),
    (b"Via: SIP/2.0/UDP", b"Via: HTTP/1.1/UDP", 400),
    (b'From: "Alice" <sip:alice@example.com>;tag=a1\r\n', b"", 400),
    (b"To: <sip:600@example.com>\r\n", b"", 400),
    (b"To: <sip:600@example.com>", b"To: 600", 400),
    (b"Call-ID: 1@192.0.2.1\r\n", b"", 400),
    (b"Call-ID: 1@192.0.2.1", b"Call-ID: ", 400),
    (b"Call-ID: 1@192.0.2.1", b"Call-ID: 1 2", 400),
    (b"Call-ID: 1@192.0.2.1", b"Call-ID: 1\xc2\x9b31m", 400),
    (b"Call-ID: 1@192.0.2.1", b"Call-ID: \xe2\x80\xae1", 400),
    (b"Call-ID: 1@192.0.2.1", b"Call-ID: 1\r\nCall-ID: 2", 400),
    (b"CSeq: 1 INVITE\r\n", b"", 400),
    (b"CSeq: 1 INVITE", b"CSeq: 1 INVITE\r\nCSeq: 1 INVITE", 400),
    (b"CSeq: 1 INVITE", b"CSeq: 1 BYE", 400),
    (b"CSeq: 1 INVITE", b"CSeq: 1 invite", 400),
    (b"CSeq: 1 INVITE", b"CSeq: 2147483648 INVITE", 400),
    (b"CSeq: 1 INVITE", b"CSeq: -1 INVITE", 400),
    (b"To: ", b"From: <sip:a@b>\r\nTo: ", 400),
    (b"To: ", b"To: <sip:a@b>\r\nTo: ", 400),
    (b"Max-Forwards: 70", b"Max-Forwards: 256", 400),
    (b"Max-Forwards: 70", b"Max-Forwards: many", 400),
    (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nMax-Forwards: 70", 400),
    (b"Max-Forwards: 70", b"Expires: never", 400),
    (b"Max-Forwards: 70", b"Route: nowhere", 400),
    (b"Max-Forwards: 70", b"Record-Route: <nowhere>", 400),
    (b"Contact: <sip:alice@192.0.2.1>\r\n", b"", 400),
    (b"Contact: <sip:alice@192.0.2.1>", b"Contact: *", 400),
    (b"Contact: <sip:alice@192.0.2.1>", b"Contact: <sip:a@b>, <sip:c@d>", 400),
    (b"Contact: <sip:alice@192.0.2.1>", b"Contact: alice", 400),
    (b"INVITE sip:600@192.0.2.9", b"INVITE http://example.com/", 416),
]


@pytest.mark.parametrize(("old", "new", "status"), JUDGED)
def test_requests_that_fail_validation_can_be_answered(old: bytes, new: bytes, status: int) -> None:
    assert old in INVITE
    message = request(INVITE.replace(old, new, 1))
    with pytest.raises(RemoteProtocolError) as caught:
        validate(message)
    assert caught.value.status == status
    assert parse(bytes(response_to(message, status, to_tag="t")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Max-Forwards: 70\r\n", b""),
        (b"Max-Forwards: 70", b"Max-Forwards: 0"),
        (b";tag=a1", b""),
        (b"INVITE sip:600@192.0.2.9", b"INVITE tel:+1201"),
        (b"CSeq: 1 INVITE", b"CSeq: 2147483647 INVITE"),
        (b"CSeq: 1 INVITE", b"CSeq:   0001   INVITE"),
        (b"Content-Type: application/sdp\r\n", b""),
    ],
)
def test_valid_messages_pass_validation(old: bytes, new: bytes) -> None:
    assert old in INVITE
    validate(parse(INVITE.replace(old, new, 1)))


def test_responses_are_validated() -> None:
    response = response_to(request(INVITE), 200, to_tag="t")
    validate(response)
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        with pytest.raises(RemoteProtocolError):
            validate(response.replace(headers=response.headers.remove(name)))


TOKENS = st.text("abcXYZ019-_.!%*+`'~", min_size=1, max_size=10)
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\t"), max_size=30).map(
    lambda value: value.strip(" \t")
)
HEADERS = (
    st.lists(st.tuples(TOKENS, VALUES), max_size=8)
    .map(Headers)
    .map(lambda headers: headers.remove("Content-Length"))
)


@PROPERTY
@given(TOKENS, HEADERS, st.binary(max_size=60))
def test_requests_are_read_back(method: str, headers: Headers, body: bytes) -> None:
    message = Request(method, Uri("sip", "x", "host"), headers, body)
    expected = message.replace(headers=headers.add("Content-Length", str(len(body))))
    assert parse(bytes(message)) == expected
    assert bytes(expected) == bytes(message)


@PROPERTY
@given(st.integers(100, 699), VALUES, HEADERS, st.binary(max_size=60))
def test_responses_are_read_back(status: int, reason: str, headers: Headers, body: bytes) -> None:
    message = Response(status, reason, headers, body)
    expected = message.replace(headers=headers.add("Content-Length", str(len(body))))
    assert parse(bytes(message)) == expected


def survive(data: bytes) -> None:
    """Any input raises at most one kind of error, and what is read can be written."""
    with suppress(RemoteProtocolError):
        message = parse(data)
        message.summary()
        repr(message)
        assert parse(bytes(message)).headers == message.headers.remove("Content-Length").add(
            "Content-Length", str(len(message.body))
        )
        if isinstance(message, Request):
            bytes(response_to(message, 400, to_tag="t"))
        validate(message)


@PROPERTY
@given(st.binary(max_size=200))
def test_any_bytes_raise_remote_errors_only(data: bytes) -> None:
    survive(data)


@PROPERTY
@given(st.binary(max_size=120))
def test_any_headers_raise_remote_errors_only(data: bytes) -> None:
    survive(b"OPTIONS sip:x SIP/2.0\r\n" + data)


@settings(PROPERTY, max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(INVITE)), st.integers(0, 5), st.binary(max_size=4))))
def test_damaged_messages_raise_remote_errors_only(wounds: list[tuple[int, int, bytes]]) -> None:
    data = bytearray(INVITE)
    for position, length, replacement in wounds:
        data[position : position + length] = replacement
    survive(bytes(data))
