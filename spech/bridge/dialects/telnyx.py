"""Telnyx media streaming, bidirectional over RTP.

https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spech.bridge.dialects.base import (
    BotEvent,
    BotMessage,
    CallInfo,
    ConversationEnded,
    DigitPressed,
    MarkPassed,
    Started,
    compact,
    identifier,
)
from spech.bridge.dialects.numbered import NumberedStream


class Telnyx(NumberedStream):
    """G.711 µ-law in base64 in JSON, with Telnyx's names."""

    number_name = "sequence_number"
    stream_name = "stream_id"

    def __init__(self) -> None:
        super().__init__()
        self._call: dict[str, Any] = {}

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return self._start(call)
            case DigitPressed(digit):
                return (self._event("dtmf", {"digit": digit}),)
            case MarkPassed(name):
                return (self._event("mark", {"name": name}),)
            case ConversationEnded():
                return (self._event("stop", self._call),)
            case _:
                return ()

    def _start(self, call: CallInfo) -> Iterable[BotMessage]:
        self._stream = identifier(f"stream {call.call_id}")
        self._call = {"user_id": identifier("spech"), "call_control_id": f"v3:{call.call_id}"}
        yield compact({"event": "connected", "version": "1.0.0"})
        yield self._event(
            "start",
            {
                **self._call,
                "call_session_id": identifier(f"session {call.call_id}"),
                "from": call.caller,
                "to": call.called,
                "custom_parameters": dict(call.parameters),
                "media_format": {"encoding": "PCMU", "sample_rate": 8000, "channels": 1},
            },
        )
