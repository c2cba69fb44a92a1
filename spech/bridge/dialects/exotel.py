"""Exotel's Voicebot applet.

https://developer.exotel.com/docs/agentstream/websocket-protocol
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, Final

from spech.bridge.dialects.base import (
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


class Exotel:
    """PCM at 8 kHz in base64 in JSON; numbers are texts."""

    rate: int | None = 8000
    subprotocol: str | None = None
    plain = False
    follows_queue = False

    def __init__(self) -> None:
        self._sequence = 0
        self._chunk = 0
        self._stream = self._call = self._account = ""

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

    def _event(self, name: str, value: dict[str, Any]) -> str:
        self._sequence += 1
        return compact(
            {
                "event": name,
                "sequence_number": str(self._sequence),
                "stream_sid": self._stream,
                name: value,
            }
        )

    def hear(self, pcm: bytes) -> BotMessage:
        chunk = self._chunk
        self._chunk += 1
        return self._event(
            "media",
            {
                "chunk": str(chunk + 1),
                "timestamp": str(chunk * _FRAME_MS),
                "payload": b64encode(pcm).decode(),
            },
        )

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        value = read_json(message)
        match value.get("event"):
            case "media":
                return (payload(member(value, "media")),)
            case "mark":
                return (SetMark(text(member(value, "mark"), "name")),)
            case "clear":
                return (Clear(),)
            case unknown:
                raise RemoteProtocolError(f"the event {unknown!r:.60} is unknown")
