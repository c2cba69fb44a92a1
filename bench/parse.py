"""The speed of reading and writing SIP text, compared with other parsers from PyPI.

    python bench/parse.py

The other parsers are installed into a temporary folder; those that cannot be installed are reported
and left out. All do the same work in one process, in turns, and the best of several rounds counts:

- read: bytes to a message object, with what the parser does eagerly;
- read and use: also the parts of From, To, the topmost Via, Contact, CSeq and Call-ID;
- judge: also whether the message is valid (only Spech has that);
- write: a message object to bytes.

Of PyPI's other names, ``aiosip`` loads on no Python that Spech runs on, and ``sip-parser`` is about
something else than telephony.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from spech.sip.message.message import Request
from spech.sip.message.parser import parse, validate

_ROUNDS = 9
#: Seconds of each measurement.
_SHORT = 0.1

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


@dataclass
class Contender:
    """A parser: its name, and its functions by the kind of work."""

    name: str
    work: dict[str, Callable[[], object]]
    best: dict[str, float] = field(default_factory=dict)


def spech() -> Contender:
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

    def judge() -> None:
        validate(parse(INVITE))

    message = parse(INVITE)
    assert isinstance(message, Request)
    work: dict[str, Callable[[], object]] = {
        "read": lambda: parse(INVITE),
        "read and use": use,
        "judge": judge,
        "write": lambda: bytes(message),
    }
    return Contender("Spech", work)


def sipmessage() -> Contender:
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
    return Contender(
        "sipmessage",
        {
            "read": lambda: module.Message.parse(INVITE),
            "read and use": use,
            "write": lambda: bytes(message),
        },
    )


@contextmanager
def peers() -> Iterator[list[Contender]]:
    """The other parsers that can be installed here."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        sys.path.append(folder)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder]
        done = subprocess.run([*command, "sipmessage"], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"sipmessage is left out, it cannot be installed: {done.stderr[-200:].strip()}")
        else:
            found.append(sipmessage())
        yield found
        sys.path.remove(folder)


def measure(contenders: list[Contender]) -> None:
    """Fill in the shortest time in seconds of each kind of work, taking turns."""
    for _ in range(_ROUNDS):
        for contender in contenders:
            for kind, work in contender.work.items():
                timer = timeit.Timer(work)
                once = min(timer.repeat(3, 10)) / 10
                count = max(10, int(_SHORT / once))
                seconds = timer.timeit(count) / count
                contender.best[kind] = min(seconds, contender.best.get(kind, seconds))


def main() -> None:
    with peers() as others:
        ours = spech()
        measure([ours, *others])
    print(f"An INVITE of {len(INVITE)} bytes; messages per second.\n")
    for kind, seconds in ours.best.items():
        print(f"{kind:>14}: Spech {1 / seconds:>9,.0f}  ({seconds * 1e6:.1f} us)")
        for other in others:
            if kind in other.best:
                theirs = other.best[kind]
                print(f"{'':>16}{other.name} {1 / theirs:>9,.0f}  Spech x{theirs / seconds:.2f}")


if __name__ == "__main__":
    main()
