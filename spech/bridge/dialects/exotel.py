"""Exotel's Voicebot applet.

https://developer.exotel.com/docs/agentstream/websocket-protocol
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

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


class Exotel(NumberedStream):
    """PCM at 8 kHz in base64 in JSON; numbers are texts."""

    number_name = "sequence_number"
    stream_name = "stream_sid"
    track: ClassVar[dict[str, str]] = {}
    law = None

    def __init__(self) -> None:
        super().__init__()
        self._call = self._account = ""

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return self._start(call)
            case DigitPressed(digit):
                return (self._event("dtmf", {"duration": "100", "digit": digit}),)
            case MarkPassed(name):
                return (self._event("mark", {"name": name}),)
            case ConversationEnded(cause):
                stop = {"call_sid": self._call, "account_sid": self._account}
                reason = "callended" if cause == "hangup" else "stopped"
                return (self._event("stop", stop | {"reason": reason}),)
            case _:
                return ()

    def _start(self, call: CallInfo) -> Iterable[BotMessage]:
        self._call = sid("CA", call.call_id)
        self._stream = sid("MZ", call.call_id)
        self._account = sid("AC", "spech")
        yield compact({"event": "connected"})
        yield self._event(
            "start",
            {
                "stream_sid": self._stream,
                "call_sid": self._call,
                "account_sid": self._account,
                "from": call.caller,
                "to": call.called,
                "custom_parameters": dict(call.parameters),
                "media_format": {
                    "encoding": "audio/x-raw",
                    "sample_rate": "8000",
                    "bit_rate": "16",
                },
            },
        )
