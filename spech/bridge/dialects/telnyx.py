"""Telnyx media streaming, bidirectional over RTP.

https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming
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
    identifier,
    member,
    payload,
    read_json,
    text,
)
from spech.errors import RemoteProtocolError

_FRAME_MS: Final = 20


class Telnyx:
    """G.711 µ-law in base64 in JSON, with Telnyx's names."""

    rate: int | None = 8000
    subprotocol: str | None = None
    plain = False
    follows_queue = False

    def __init__(self) -> None:
        self._g711 = G711("PCMU")
        self._sequence = 0
        self._chunk = 0
        self._stream = ""
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

    def _event(self, name: str, value: dict[str, Any]) -> str:
        self._sequence += 1
        return compact(
            {
                "event": name,
                "sequence_number": str(self._sequence),
                name: value,
                "stream_id": self._stream,
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
