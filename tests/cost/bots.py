"""What bots send, in each dialect, and what applications of Twilio send."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qs

from spech.bridge import dialects
from spech.bridge.dialects.base import CallInfo, MarkPassed, SetMark, Started
from spech.bridge.twilio.requests import RestRefusal, read_create, read_update
from spech.bridge.twilio.twiml import parse_twiml

from .parser import Parser, of_text

_CALL: Final = CallInfo("1", "alice", "bob", "PCMU", 8000, 160)


def _reading(name: str) -> Callable[[str], None]:
    """Read a message, and give the bot back the marks in it."""
    make = dialects.find(name)

    def read(message: str) -> None:
        dialect = make()
        tuple(dialect.tell(Started(_CALL)))
        for command in dialect.read(message):
            if isinstance(command, SetMark):
                tuple(dialect.tell(MarkPassed(command.name, played=True)))

    return read


def _order(text: str) -> None:
    """A form of Twilio's REST interface."""
    form = parse_qs(text)
    for read in (read_create, read_update):
        with suppress(RestRefusal):
            read(form)


_ANYWHERE: Final = ((b"", b""), (b'{"x":', b"}"))
_NUMBERED: Final = (
    (b'{"event":"media","media":{"payload":"', b'"}}'),
    (b'{"event":"mark","mark":{"name":"', b'"}}'),
)
_PLACES: Final = {
    "twilio": _NUMBERED,
    "asterisk": ((b'{"command":"MARK_MEDIA","correlation_id":"', b'"}'),),
    "asterisk-text": ((b"MARK_MEDIA ", b""),),
    "plivo": (
        (b'{"event":"playAudio","media":{"contentType":"audio/x-mulaw","payload":"', b'"}}'),
        (b'{"event":"playAudio","media":{"payload":"","sampleRate":', b"}}"),
    ),
    "vonage": ((b'{"action":"notify","payload":{"', b'":1}}'),),
}

KINDS: Final = {
    "bots": tuple(
        Parser(name, of_text(_reading(name)), _ANYWHERE + _PLACES.get(name, ()))
        for name in dialects.names()
    ),
    "applications": (
        Parser(
            "TwiML",
            parse_twiml,
            (
                (b"", b""),
                (b"<Response>", b"</Response>"),
                (b"<Response><Redirect>", b"</Redirect></Response>"),
                (b"<Response><Redirect>http://a/", b"</Redirect></Response>"),
                (b"<Response><Dial>", b"</Dial></Response>"),
                (b'<Response><Connect><Stream url="', b'"/></Connect></Response>'),
                (b'<Response><Pause length="', b'"/></Response>'),
            ),
        ),
        Parser(
            "calls over REST",
            of_text(_order),
            ((b"", b""), (b"To=1&From=2&Url=", b""), (b"To=1&From=2&Twiml=<Response>", b"")),
        ),
    ),
}
