"""What bots send, in each dialect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from spech.bridge import dialects
from spech.bridge.dialects.base import CallInfo, MarkPassed, SetMark, Started

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
}
