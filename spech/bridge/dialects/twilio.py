"""Twilio Media Streams, bidirectional (``<Connect><Stream>``).

https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from spech.bridge.dialects.base import (
    BotEvent,
    BotMessage,
    CallInfo,
    ConversationEnded,
    DigitPressed,
    MarkPassed,
    Started,
    compact,
    sid,
)
from spech.bridge.dialects.numbered import NumberedStream

#: The only account that there is.
ACCOUNT_SID: Final = sid("AC", "spech")


def call_sid(name: str) -> str:
    """The identifier of a call, from its name in the records of the bridge."""
    return f"CA{name}"


class Twilio(NumberedStream):
    """G.711 µ-law in base64 in JSON; numbers are texts."""

    number_name = "sequenceNumber"
    stream_name = "streamSid"

    def __init__(self) -> None:
        super().__init__()
        self._call = ""

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return self._start(call)
            case DigitPressed(digit):
                return (self._event("dtmf", {"track": "inbound_track", "digit": digit}),)
            case MarkPassed(name):
                return (self._event("mark", {"name": name}),)
            case ConversationEnded():
                stop = {"accountSid": ACCOUNT_SID, "callSid": self._call}
                return (self._event("stop", stop),)
            case _:
                return ()

    def _start(self, call: CallInfo) -> Iterable[BotMessage]:
        self._call = call_sid(call.id)
        self._stream = sid("MZ", call.id)
        numbers = {"from_number": call.caller, "to_number": call.called}
        yield compact({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        yield self._event(
            "start",
            {
                "streamSid": self._stream,
                "accountSid": ACCOUNT_SID,
                "callSid": self._call,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {**numbers, **call.parameters},
            },
        )
