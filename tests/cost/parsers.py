"""Every parser of input from strangers, with the places in its input where text can be repeated."""

from __future__ import annotations

import itertools
import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from spech.agreement import DtlsPeer, local_candidates
from spech.errors import ProtocolError
from spech.rtp import packet, rtcp, stun
from spech.rtp.dtls import Association, Certificate
from spech.sip.call.info import dtmf_digit
from spech.sip.call.replaces import Replaces
from spech.sip.description import sdp
from spech.sip.description.ice import IceNegotiation
from spech.sip.description.media_security import MediaSecurity
from spech.sip.description.offer_answer import Negotiator, judge_offer
from spech.sip.description.payload_types import AudioFormat
from spech.sip.dialog.caller import caller_of, reason_of
from spech.sip.message.body import opened
from spech.sip.message.display import displayable, escaped
from spech.sip.message.framing import StreamFramer
from spech.sip.message.grammar import has_forbidden, parse_parameters, split_list
from spech.sip.message.headers import AuthHeader, CSeq, Headers, NameAddr, Via, masked
from spech.sip.message.message import Request, response_to
from spech.sip.message.parser import parse, salvage, validate
from spech.sip.message.uri import Uri
from spech.sip.timeline import Entry, ladder, to_pcap
from spech.sip.watching.dialog_info import DialogInfo
from spech.sip.watching.event_header import EventHeader, SubscriptionStateHeader
from spech.sip.watching.mailbox import Mailbox
from spech.sip.watching.presence import Presence
from spech.web import messages
from spech.web.audio import Hello
from spech.web.auth import same_origin
from spech.websocket.frames import FrameStream

#: Characters with a meaning in one of the parsers, and some without.
SPECIAL: Final = [bytes([one]) for one in b"\0\t\r\n \"%&'()*,-./0:;<=>?@[\\]a{}\x81\xff"]
#: Characters that open, close, quote or separate; pairs of them are repeated.
_PAIRED: Final = [bytes([one]) for one in b'"\\<>;,=:@\r\n &%']

#: What a parser raises for input that it refuses.
REFUSED: Final = (ProtocolError, msgspec.DecodeError, RecursionError)


class Parser(NamedTuple):
    """``read`` takes input; the repeated text stands between the two halves of a place."""

    name: str
    read: Callable[[bytes], object]
    places: tuple[tuple[bytes, bytes], ...] = ((b"", b""),)

    def __call__(self, data: bytes) -> None:
        with suppress(*REFUSED):
            self.read(data)


def pairs(characters: Sequence[bytes] = _PAIRED) -> Iterator[bytes]:
    """Every two of the characters, in both orders."""
    for one, other in itertools.permutations(characters, 2):
        yield one + other


def repeated(place: tuple[bytes, bytes], unit: bytes, times: int) -> bytes:
    """Input with ``unit`` repeated in one place."""
    before, after = place
    return before + unit * times + after


# SIP

_HEAD: Final = (
    b"INVITE sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n"
    b"To: <sip:b@h>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@h>\r\n"
)


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
        _message(_HEAD + b"A: b\n" + head[: 65_000 - len(_HEAD)] + b"\r\n")

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
    return _HEAD + before, after


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("latin-1"))


def _with_header(name: str, read: Callable[[Request], object]) -> Callable[[bytes], object]:
    def use(data: bytes) -> object:
        base = parse(_HEAD + b"\r\n")
        assert isinstance(base, Request)
        pairs = (*base.headers, (name, data.decode("latin-1")))
        return read(base.replace(headers=Headers.trusted(pairs)))

    return use


def _with_body(kind: str, read: Callable[[Request], object]) -> Callable[[bytes], object]:
    def use(data: bytes) -> object:
        base = parse(_HEAD + b"\r\n")
        assert isinstance(base, Request)
        return read(base.replace(headers=base.headers.add("Content-Type", kind), body=data))

    return use


def _ladder(data: bytes) -> None:
    """Three messages, which have to share the 64 KiB that a timeline keeps of a call."""
    data = data[: 65_536 // 3]
    here, there = ("192.0.2.1", 5060), ("192.0.2.2", 5060)
    body = Entry(1.0, "", here, there, _HEAD + b"Content-Type: application/sdp\r\n\r\n" + data)
    entries = (Entry(0.0, "", here, there, data), body, body, Entry(2.0, "timer"))
    ladder(entries)
    to_pcap(entries, 0.0)


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


def _security() -> MediaSecurity:
    return MediaSecurity("optional", rng=random.Random(1), fingerprint="sha-256 00")


def _negotiator() -> Negotiator:
    rng = random.Random(1)
    candidates = local_candidates([("192.0.2.9", 4000), ("192.0.2.9", 4001)])
    return Negotiator(
        _FORMATS,
        "192.0.2.9",
        4000,
        1,
        ice=IceNegotiation(candidates, offers=True, lite=False, rng=rng),
        security=_security(),
        comfort_noise=True,
    )


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


# Packets: lengths in their heads are put right, so that the contents are read.


def _stun(data: bytes) -> object:
    data += b"\0" * (-len(data) % 4)
    return stun.parse(
        struct.pack("!HHI12s", 0x0001, len(data) & 0xFFFF, stun.STUN_MAGIC, b"") + data
    )


def _rtcp(kind: int, first: int) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        data = data[: 4 * 0xFFFF]
        data += b"\0" * (-len(data) % 4)
        return rtcp.parse(struct.pack("!BBH", first, kind, len(data) // 4) + data)

    return read


def _many_rtcp(data: bytes) -> object:
    """Packets without contents, as many as the input has bytes."""
    return rtcp.parse(b"".join(bytes((0x80, 200 + one % 8, 0, 0)) for one in data[:16_000]))


@cache
def _certificate() -> Certificate:
    return Certificate()


def _dtls(data: bytes) -> None:
    association = Association(_certificate(), DtlsPeer((("sha-256", "00"),), client=False))
    for start in range(0, len(data), 1400):
        association.receive_datagram(
            data[start : start + 1400], ("192.0.2.1", 4000), ("192.0.2.1", 4000)
        )


class _Pipe:
    """The part of a TCP stream that a frame stream needs: a descriptor to read from."""

    def __init__(self, descriptor: int) -> None:
        self.socket: Any = self
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


def _frames(data: bytes) -> None:
    reading, writing = os.pipe()
    try:
        os.set_blocking(reading, False)
        frames = FrameStream(_Pipe(reading), client=False)  # type: ignore[arg-type]
        with frames.polled(lambda frame: None):
            for start in range(0, len(data), 8192):
                os.write(writing, data[start : start + 8192])
                frames.poll()
    finally:
        os.close(reading)
        os.close(writing)


_UPGRADE: Final = b"GET / HTTP/1.1\r\n\r\n"

PARSERS: Final = (
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
        for name in ("Via", "Contact", "Record-Route", "Reason", "X")
    ),
    Parser("salvage", _salvage, ((b"", b""), (b'OPTIONS a SIP/2.0\r\nX:\x01"', b"\r\n\r\n"))),
    Parser("stream", _stream, ((b"", b""), _by_lines(b"X: "))),
    Parser(
        "uri",
        _text(Uri.read),
        ((b"", b""), (b"sip:", b""), (b"sip:a@h;", b""), (b"sip:a@h?", b""), (b"tel:", b"")),
    ),
    Parser(
        "same uri",
        _text(lambda text: Uri.parse(text).equivalent(Uri.parse(text))),
        ((b"sip:a@h;", b""), (b"sip:a@h?", b"")),
    ),
    Parser(
        "address",
        _text(NameAddr.read),
        (
            (b"", b""),
            (b'"', b""),
            (b'"', b'" <sip:a@h>'),
            (b"", b" <sip:a@h>"),
            (b"<sip:", b"@h>"),
            (b"<sip:a@h>;", b""),
        ),
    ),
    Parser("via", _text(Via.parse), ((b"", b""), (b"SIP/2.0/UDP ", b""), (b"SIP/2.0/UDP h;", b""))),
    Parser("cseq", _text(CSeq.parse), ((b"", b""), (b"1 ", b""))),
    Parser("challenge", _text(AuthHeader.parse), ((b"Digest ", b""), (b'Digest a="', b""))),
    Parser("parameters", _text(parse_parameters), ((b";", b""), (b';a="', b""))),
    Parser("list", _text(split_list), ((b"", b""), (b"a,", b""))),
    Parser("forbidden", _text(has_forbidden), ((b"\x01", b""), (b'\x01"', b""))),
    Parser("masked", _text(lambda text: masked("X", text)), ((b"", b""), (b"sip:", b"@h"))),
    Parser("displayed", _text(displayable)),
    Parser("escaped", _text(escaped)),
    Parser(
        "reason",
        _with_header("Reason", reason_of),
        ((b"", b""), (b"SIP;", b"cause=200"), (b'SIP;cause=1;text="', b"")),
    ),
    Parser("event", _with_header("Event", EventHeader.of), ((b"", b""), (b"dialog;", b""))),
    Parser(
        "state",
        _with_header("Subscription-State", SubscriptionStateHeader.of),
        ((b"active;", b""),),
    ),
    Parser("replaces", _text(Replaces.parse), ((b"", b""), (b"1;", b""))),
    Parser(
        "body",
        _with_body("multipart/mixed;boundary=x", opened),
        ((b"", b""), (b"--x\r\n", b""), (b"--x\r\nA: ", b"\r\n\r\n")),
    ),
    Parser(
        "boundary", _with_header("Content-Type", opened), ((b"multipart/mixed;boundary=", b""),)
    ),
    Parser("digit", _with_body("application/dtmf-relay", dtmf_digit)),
    Parser("ladder", _ladder, ((b"", b""), (_SESSION, b""))),
    Parser("description", sdp.read, _PLACES_IN_SDP),
    Parser("offer", lambda data: _negotiator().receive_offer(data), _PLACES_IN_SDP),
    Parser("answer", _answer, _PLACES_IN_SDP),
    Parser(
        "judged offer", lambda data: judge_offer(data, _FORMATS, _security()), _PLACES_IN_SDP[3:5]
    ),
    Parser("mailbox", Mailbox.parse, ((b"", b""), (b"Messages-Waiting: yes\r\n", b""))),
    Parser("dialog-info", DialogInfo.parse, _places_in_xml(_DIALOG, b"</dialog-info>")),
    Parser("presence", Presence.parse, _places_in_xml(_PIDF, b"</presence>")),
    Parser("rtp", packet.parse, ((b"", b""), (b"\x9f", b""), (b"\x90" + b"\0" * 11, b""))),
    Parser("stun", _stun),
    *(
        Parser(f"rtcp {kind}", _rtcp(kind, first))
        for kind in range(200, 208)
        for first in (0x80, 0x9F, 0xBF)
    ),
    Parser("rtcp packets", _many_rtcp),
    Parser("dtls", _dtls, ((b"", b""), (b"\x16\xfe\xff" + b"\0" * 8 + b"\x04\0\x01", b""))),
    Parser("frames", _frames, ((b"", b""), (_UPGRADE, b""))),
    Parser(
        "command",
        _text(msgspec.json.Decoder(messages.Command).decode),
        ((b"", b""), (b'{"type":"dial","id":1,"target":"', b'"}'), (b'{"x":', b"}")),
    ),
    Parser("envelope", _text(msgspec.json.Decoder(messages.Envelope).decode)),
    Parser("hello", _text(msgspec.json.Decoder(Hello).decode)),
    Parser("origin", _text(lambda text: same_origin(text, text)), ((b"", b""), (b"http://", b""))),
)
