"""Every parser of SIP, of its headers and of its bodies."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Final

from spech.agreement import local_candidates
from spech.phone.fields import diversions, retry_after, user_to_user
from spech.sip.call.info import dtmf_digit
from spech.sip.call.replaces import Replaces
from spech.sip.description import sdp
from spech.sip.description.ice import IceNegotiation, has_credentials
from spech.sip.description.media_security import MediaSecurity
from spech.sip.description.offer_answer import Negotiator, judge_offer
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.caller import caller_of, q850_cause, reason_of
from spech.sip.message.body import opened
from spech.sip.message.display import displayable, escaped
from spech.sip.message.framing import StreamFramer
from spech.sip.message.grammar import has_forbidden, parse_parameters, split_list
from spech.sip.message.headers import AuthHeader, CSeq, Headers, NameAddr, Via, masked
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse, salvage, validate
from spech.sip.message.uri import Uri
from spech.sip.timeline import Entry, from_pcap, ladder, masked_data, to_pcap
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.event_header import EventHeader, SubscriptionStateHeader
from spech.sip.watching.mailbox import Mailbox
from spech.sip.watching.presence import Presence
from spech.web.story import tell

from .parser import Parser, of_text

# SIP

HEAD: Final = (
    b"INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n"
    b"To: <sip:b@h>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@h>\r\n"
)


def _request() -> Request:
    request = parse(HEAD + b"\r\n")
    assert isinstance(request, Request)
    return request


_REQUEST: Final = _request()


def _message(data: bytes) -> None:
    message = parse(data)
    message.summary()
    validate(message)
    if isinstance(message, Request):
        response_to(message, 200, to_tag="1")
        caller_of(message, trusted=True)


def _in_lines(name: bytes) -> Callable[[bytes], object]:
    """Text in many lines of one header.

    The bare line feed keeps the parser from its shorter way, which ends at some length.
    """

    def read(data: bytes) -> None:
        lines = (data[start : start + 1_000] for start in range(0, len(data), 1_000))
        head = b"".join(b"%s: %s\r\n" % (name, line.strip(b"\r\n")) for line in lines)
        _message(HEAD + b"A: b\n" + head[: 65_000 - len(HEAD)] + b"\r\n")

    return read


def _salvage(data: bytes) -> None:
    request = salvage(data)
    if request is not None:
        response_to(request, 400, to_tag="1")


def _stream(data: bytes) -> None:
    framer = StreamFramer()
    for start in range(0, len(data), 1460):
        framer.receive_data(data[start : start + 1460])


def _by_lines(before: bytes, after: bytes = b"\r\n\r\n") -> tuple[bytes, bytes]:
    return HEAD + before, after


def _with_header(name: str, read: Callable[[Request], object]) -> Callable[[bytes], object]:
    def use(data: bytes) -> object:
        pairs = (*_REQUEST.headers, (name, data.decode("latin-1")))
        return read(_REQUEST.replace(headers=Headers.trusted(pairs)))

    return use


def _with_body(kind: str, read: Callable[[Request], object]) -> Callable[[bytes], object]:
    headers = _REQUEST.headers.add("Content-Type", kind)

    def use(data: bytes) -> object:
        return read(_REQUEST.replace(headers=headers, body=data))

    return use


def _entries(data: bytes) -> tuple[Entry, ...]:
    """Three messages, which have to share the 64 KiB that a timeline keeps of a call."""
    data = data[: 65_536 // 3]
    here, there = ("192.0.2.1", 5060), ("192.0.2.2", 5060)
    body = Entry(1.0, "", here, there, HEAD + b"Content-Type: application/sdp\r\n\r\n" + data)
    return Entry(0.0, "", here, there, data), body, body, Entry(2.0, "timer")


def _ladder(data: bytes) -> None:
    entries = _entries(data)
    ladder(entries)
    to_pcap(entries, 0.0)


def _story(data: bytes) -> None:
    tell(_entries(data), 0.0)


_CAPTURE: Final = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, 101)


def _capture(data: bytes) -> None:
    """A capture of one packet."""
    from_pcap(_CAPTURE + struct.pack("<IIII", 0, 0, len(data), len(data)) + data)


# Session descriptions

_SESSION: Final = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
_AUDIO: Final = b"m=audio 4000 RTP/AVP 0\r\n"
_ICE: Final = b"a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
_FORMATS: Final = (
    AudioFormat("PCMU", "PCMU", 8000, 0, comfort_noise=True),
    AudioFormat("opus", "opus", 48000, channels=2),
)
_PLACES_IN_SDP: Final = (
    (b"", b""),
    (_SESSION, b""),
    (b"v=0\r\no=", b"\r\n" + _AUDIO),
    (_SESSION + b"m=", b""),
    (_SESSION + b"m=audio 4000 RTP/AVP 0 ", b""),
    (_SESSION + _AUDIO + b"c=IN IP4 ", b""),
    (_SESSION + _AUDIO + b"a=", b""),
    (_SESSION + _AUDIO + b"a=rtpmap:0 ", b""),
    (_SESSION + _AUDIO + b"a=fmtp:0 ", b""),
    (_SESSION + _AUDIO + b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 ", b""),
    (_SESSION + _AUDIO + b"a=fingerprint:sha-256 ", b""),
    (_SESSION + _AUDIO + _ICE + b"a=candidate:", b""),
    (_SESSION + _AUDIO + _ICE + b"a=candidate:1 1 UDP 1 ", b""),
)


#: Places that are read after the description as a whole.
_PLACES_IN_AUDIO: Final = _PLACES_IN_SDP[3:]
_RANDOM: Final = random.Random(1)
_CANDIDATES: Final = local_candidates([("192.0.2.9", 4000), ("192.0.2.9", 4001)])


def _security() -> MediaSecurity:
    return MediaSecurity("optional", rng=_RANDOM, fingerprint=lambda: "sha-256 00")


_SECURITY: Final = _security()


def _ice() -> IceNegotiation:
    return IceNegotiation(_CANDIDATES, offers=True, lite=False, rng=_RANDOM)


def _negotiator() -> Negotiator:
    return Negotiator(
        _FORMATS,
        "192.0.2.9",
        4000,
        1,
        ice=_ice(),
        security=_security(),
        comfort_noise=True,
    )


def _description(data: bytes) -> None:
    """All that a description and its parts are asked for."""
    description = sdp.read(data)
    for media in description.media:
        media.rtpmaps()
        media.fmtps()
        assert media.direction
        assert media.ptime != 0
        assert media.rtcp_port != 0
        if has_credentials(description, media):
            _ice().receive_offer(description, media, [("192.0.2.1", 4000)])
    _SECURITY.choose(description, description.media)


def _offer(data: bytes) -> None:
    _negotiator().receive_offer(data)


def _answer(data: bytes) -> None:
    negotiator = _negotiator()
    negotiator.offer()
    negotiator.receive_answer(data)


# XML

_DIALOG: Final = b'<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="1" entity="a">'
_PIDF: Final = b'<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="a">'


def _places_in_xml(root: bytes, end: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"", b""),
        (b"<a ", b"/>"),
        (b"<a b='", b"'/>"),
        (b"<!DOCTYPE a [", b"]><a/>"),
        (root, end),
        (root + b"<!--", b"-->" + end),
        (root + b"<![CDATA[", b"]]>" + end),
    )


MESSAGES: Final = (
    Parser(
        "message",
        _message,
        (
            (b"", b""),
            (b"OPTIONS ", b" SIP/2.0\r\n\r\n"),
            (b"OPTIONS sip:", b" SIP/2.0\r\n\r\n"),
            (b"SIP/2.0 200 ", b"\r\n\r\n"),
            _by_lines(b""),
            _by_lines(b"X: "),
            _by_lines(b'X:\x01"'),
            _by_lines(b"Via: SIP/2.0/UDP h;"),
            _by_lines(b"Record-Route: <sip:a@h>,"),
            _by_lines(b"P-Asserted-Identity: "),
        ),
    ),
    *(
        Parser(name, _in_lines(name.encode()), ((b"", b""), (b"<sip:a@h>,", b""), (b'"', b"")))
        for name in ("Via", "Contact", "Record-Route", "X")
    ),
    Parser("salvage", _salvage, ((b"", b""), (b'OPTIONS a SIP/2.0\r\nX:\x01"', b"\r\n\r\n"))),
    Parser("stream", _stream, ((b"", b""), _by_lines(b"X: "))),
    Parser("ladder", _ladder, ((b"", b""), (_SESSION, b""))),
    Parser("story", _story, ((b"", b""), (_SESSION, b""))),
    Parser(
        "capture",
        from_pcap,
        ((b"", b""), (_CAPTURE, b""), (_CAPTURE + bytes(8), b""), (_CAPTURE + bytes(16), b"")),
    ),
    Parser("captured packet", _capture, ((b"\x45" + bytes(27), b""), (b"\x60" + bytes(47), b""))),
    Parser("hidden", masked_data, ((b"", b""), (b"sip:a:", b""), (b"a=crypto:", b"inline:"))),
)

ADDRESSES: Final = (
    Parser(
        "uri",
        of_text(Uri.read),
        ((b"", b""), (b"sip:", b""), (b"sip:a@h;", b""), (b"sip:a@h?", b""), (b"tel:", b"")),
    ),
    Parser(
        "same uri",
        of_text(lambda text: Uri.parse(text).equivalent(Uri.parse(text))),
        ((b"sip:a@h;", b""), (b"sip:a@h?", b"")),
    ),
    Parser(
        "address",
        of_text(NameAddr.read),
        (
            (b"", b""),
            (b'"', b""),
            (b'"', b'" <sip:a@h>'),
            (b"", b" <sip:a@h>"),
            (b"<sip:", b"@h>"),
            (b"<sip:a@h>;", b""),
        ),
    ),
    Parser(
        "via", of_text(Via.parse), ((b"", b""), (b"SIP/2.0/UDP ", b""), (b"SIP/2.0/UDP h;", b""))
    ),
    Parser("cseq", of_text(CSeq.parse), ((b"", b""), (b"1 ", b""))),
    Parser("masked", of_text(lambda text: masked("X", text)), ((b"", b""), (b"sip:", b"@h"))),
    Parser("displayed", of_text(displayable)),
    Parser("escaped", of_text(escaped)),
)

HEADERS: Final = (
    Parser("challenge", of_text(AuthHeader.parse), ((b"Digest ", b""), (b'Digest a="', b""))),
    Parser("parameters", of_text(parse_parameters), ((b";", b""), (b';a="', b""))),
    Parser("list", of_text(split_list), ((b"", b""), (b"a,", b""))),
    Parser("forbidden", of_text(has_forbidden), ((b"\x01", b""), (b'\x01"', b""))),
    Parser(
        "reason",
        _with_header("Reason", reason_of),
        ((b"", b""), (b"SIP;", b"cause=200"), (b'SIP;cause=1;text="', b"")),
    ),
    Parser(
        "cause",
        _with_header("Reason", lambda request: q850_cause(request.headers)),
        ((b"", b""), (b"Q.850;", b"cause=16"), (b"SIP;cause=1,", b"")),
    ),
    Parser(
        "diversion",
        _with_header("Diversion", lambda request: diversions(request.headers)),
        ((b"", b""), (b"<sip:a@h>,", b""), (b'<sip:a@h>;reason="', b'"')),
    ),
    Parser(
        "user-to-user",
        _with_header("User-To-User", lambda request: user_to_user(request.headers)),
        ((b"", b""), (b"00;", b""), (b'"', b'";encoding=ascii')),
    ),
    Parser(
        "retry-after",
        _with_header("Retry-After", lambda request: retry_after(request.headers)),
        ((b"", b""), (b"5 (", b")")),
    ),
    Parser("event", _with_header("Event", EventHeader.of), ((b"", b""), (b"dialog;", b""))),
    Parser(
        "state",
        _with_header("Subscription-State", SubscriptionStateHeader.of),
        ((b"active;", b""),),
    ),
    Parser("replaces", of_text(Replaces.parse), ((b"", b""), (b"1;", b""))),
    Parser(
        "boundary", _with_header("Content-Type", opened), ((b"multipart/mixed;boundary=", b""),)
    ),
)

BODIES: Final = (
    Parser(
        "body",
        _with_body("multipart/mixed;boundary=x", opened),
        ((b"", b""), (b"--x\r\n", b""), (b"--x\r\nA: ", b"\r\n\r\n")),
    ),
    Parser("digit", _with_body("application/dtmf-relay", dtmf_digit)),
    Parser("mailbox", Mailbox.parse, ((b"", b""), (b"Messages-Waiting: yes\r\n", b""))),
)

DESCRIPTIONS: Final = (
    Parser("description", _description, _PLACES_IN_SDP),
    Parser(
        "judged offer",
        lambda data: judge_offer(sdp.read(data), _FORMATS, _SECURITY),
        _PLACES_IN_SDP[3:5],
    ),
)

NEGOTIATIONS: Final = (
    Parser("offer", _offer, _PLACES_IN_AUDIO),
    Parser("answer", _answer, _PLACES_IN_AUDIO),
)

XML: Final = (
    Parser(
        "dialog-info",
        DialogInfo.parse,
        (
            *_places_in_xml(_DIALOG, b"</dialog-info>"),
            (_DIALOG + b'<dialog id="1"><state>', b"</state></dialog></dialog-info>"),
        ),
    ),
    Parser("presence", Presence.parse, _places_in_xml(_PIDF, b"</presence>")),
)

KINDS: Final = {
    "messages": MESSAGES,
    "addresses": ADDRESSES,
    "headers": HEADERS,
    "bodies": BODIES,
    "descriptions": DESCRIPTIONS,
    "negotiations": NEGOTIATIONS,
    "XML": XML,
}
