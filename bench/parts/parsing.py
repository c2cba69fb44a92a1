"""The speed of reading and writing SIP text, compared with another parser from PyPI.

Both do the same work in one process:

- read: bytes to a message object, with what the parser does eagerly;
- read and use: also the parts of From, To, the topmost Via, Contact, CSeq and Call-ID;
- judge: also whether the message is valid (only Spech has that);
- write: a message object to bytes.

Of PyPI's other names, ``aiosip`` loads on no Python that Spech runs on, and ``sip-parser`` is about
something else than telephony.
"""

from __future__ import annotations

import sys
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

from bench.parts import Part, Scale, Side
from bench.programs import library
from bench.results import Figures, Values
from bench.tables import sides_table
from spech.sip.message.message import Request
from spech.sip.message.parser import parse, validate

#: Each measurement of one kind of work is this share of a usual one.
_SHARE: Final = 0.05

_BODY = (
    b"v=0\r\no=- 3724394400 3724394400 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 17040 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)
INVITE = (
    b"INVITE sip:600@192.0.2.9 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK6a1f09b22cd1\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@example.com>;tag=77ac1b\r\n'
    b"To: <sip:600@example.com>\r\n"
    b"Call-ID: 3848276298220188511@192.0.2.1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1:5060>\r\n"
    b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n"
    b"Supported: 100rel, timer\r\n"
    b"User-Agent: Bench\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n" % len(_BODY)
) + _BODY

#: Functions by the kind of work.
Work = Mapping[str, Callable[[], object]]


def _spech() -> Work:
    def use() -> object:
        message = parse(INVITE)
        return (
            message.from_.tag,
            message.to.uri.user,
            message.via.branch,
            message.contacts[0].uri.host,
            message.cseq.number,
            message.call_id,
        )

    message = parse(INVITE)
    assert isinstance(message, Request)
    return {
        "read": lambda: parse(INVITE),
        "read and use": use,
        "write": lambda: bytes(message),
        "judge": lambda: validate(parse(INVITE)),
    }


def _sipmessage() -> Work:
    module: Any = import_module("sipmessage")

    def use() -> object:
        message = module.Message.parse(INVITE)
        return (
            message.from_address.parameters,
            message.to_address.uri.user,
            message.via[0].parameters,
            message.contact[0].uri.host,
            message.cseq.sequence,
            message.call_id,
        )

    message = module.Message.parse(INVITE)
    return {
        "read": lambda: module.Message.parse(INVITE),
        "read and use": use,
        "write": lambda: bytes(message),
    }


def _each(make: Callable[[], Work], scale: Scale) -> Iterator[tuple[str, Values]]:
    for case, work in make().items():
        timer = timeit.Timer(work, timer=time.process_time)
        once = min(timer.repeat(3, 10)) / 10
        count = max(10, int(scale.seconds * _SHARE / once))
        yield case, {"time": timer.timeit(count) / count * 1e6}


def _sides() -> Mapping[str, Side]:
    sides = {"Spech": partial(_each, _spech)}
    if folder := library("sipmessage"):
        sys.path.append(folder)
        sides["sipmessage"] = partial(_each, _sipmessage)
    return sides


def _text(figures: Figures) -> str:
    return sides_table(
        figures, "work", "time", "CPU for a message, µs", against="sipmessage", digits=1
    )


PART: Final = Part("parsing", "reading and writing SIP", 1, _sides, _text)
