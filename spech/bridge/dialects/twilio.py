"""Twilio Media Streams, bidirectional (``<Connect><Stream>``).

https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final

from spech.bridge.dialects.base import (
    G711,
    BotCommand,
    BotEvent,
    BotMessage,
    CallInfo,
    Clear,
    ConversationEnded,
    DigitPressed,
    MarkPassed,
    SetMark,
    Started,
    compact,
    member,
    payload,
    read_json,
    sid,
    text,
)
from spech.errors import RemoteProtocolError

_FRAME_MS: Final = 20


class Twilio:
    """G.711 µ-law in base64 in JSON; numbers are texts."""

    rate: int | None = 8000
    subprotocol: str | None = None
    plain = False
    follows_queue = False

    def __init__(self) -> None:
        self._g711 = G711("PCMU")
        self._sequence = 0
        self._chunk = 0
        self._stream = self._call = self._account = ""

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return self._start(call)
            case DigitPressed(digit):
                return (self._event("dtmf", {"track": "inbound_track", "digit": digit}),)
            case MarkPassed(name):
                return (self._event("mark", {"name": name}),)
            case ConversationEnded():
                stop = {"accountSid": self._account, "callSid": self._call}
                return (self._event("stop", stop),)
            case _:
                return ()

    def _start(self, call: CallInfo) -> Iterable[BotMessage]:
        self._call = sid("CA", call.call_id)
        self._stream = sid("MZ", call.call_id)
        self._account = sid("AC", "spech")
        numbers = {"from_number": call.caller, "to_number": call.called}
        yield compact({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        yield self._event(
            "start",
            {
                "streamSid": self._stream,
                "accountSid": self._account,
                "callSid": self._call,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {**numbers, **call.parameters},
            },
        )

    def _event(self, name: str, value: dict[str, Any]) -> str:
        self._sequence += 1
        return compact(
            {
                "event": name,
                "sequenceNumber": str(self._sequence),
                name: value,
                "streamSid": self._stream,
            }
        )

    def hear(self, pcm: bytes) -> BotMessage:
        chunk = self._chunk
        self._chunk += 1
        return self._event(
            "media",
            {
                "track": "inbound",
                "chunk": str(chunk + 1),
                "timestamp": str(chunk * _FRAME_MS),
                "payload": b64encode(self._g711.encode(pcm)).decode(),
            },
        )

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        value = read_json(message)
        match value.get("event"):
            case "media":
                return (self._g711.decode(payload(member(value, "media"))),)
            case "mark":
                return (SetMark(text(member(value, "mark"), "name")),)
            case "clear":
                return (Clear(),)
            case unknown:
                raise RemoteProtocolError(f"the event {unknown!r:.60} is unknown")
