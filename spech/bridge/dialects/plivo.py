"""Plivo audio streaming, bidirectional.

https://www.plivo.com/docs/voice/concepts/audio-streaming/
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
    Cleared,
    DigitPressed,
    MarkPassed,
    SetMark,
    Started,
    compact,
    identifier,
    member,
    number,
    payload,
    read_json,
    text,
)
from spech.errors import RemoteProtocolError

_FRAME_MS: Final = 20


class Plivo:
    """G.711 µ-law in base64 in JSON; what is played may be linear as well."""

    rate: int | None = 8000
    subprotocol: str | None = None
    plain = False
    follows_queue = False

    def __init__(self) -> None:
        self._g711 = G711("PCMU")
        self._sequence = 0
        self._chunk = 0
        self._stream = ""

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return (self._start(call),)
            case DigitPressed(digit):
                dtmf = {"track": "inbound", "digit": digit, "timestamp": self._timestamp}
                return (self._event("dtmf", dtmf=dtmf),)
            case MarkPassed(name, True):
                return (self._event("playedStream", name=name),)
            case Cleared():
                return (self._event("clearedAudio"),)
            case _:
                return ()

    @property
    def _timestamp(self) -> str:
        return str(self._chunk * _FRAME_MS)

    def _start(self, call: CallInfo) -> str:
        self._stream = identifier(f"stream {call.call_id}")
        start = {
            "callId": identifier(call.call_id),
            "streamId": self._stream,
            "accountId": identifier("spech"),
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        headers = {"from": call.caller, "to": call.called, **call.parameters}
        extra = ";".join(f"{name}={value}" for name, value in headers.items())
        return self._event("start", start=start, extra_headers=extra)

    def _event(self, event: str, **values: Any) -> str:
        self._sequence += 1
        known = {"event": event, "sequenceNumber": self._sequence, "streamId": self._stream}
        return compact(known | values)

    def hear(self, pcm: bytes) -> BotMessage:
        media = {
            "track": "inbound",
            "timestamp": self._timestamp,
            "chunk": self._chunk + 1,
            "payload": b64encode(self._g711.encode(pcm)).decode(),
        }
        self._chunk += 1
        return self._event("media", media=media)

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        value = read_json(message)
        match value.get("event"):
            case "playAudio":
                return (self._sound(member(value, "media")),)
            case "checkpoint":
                return (SetMark(text(value, "name")),)
            case "clearAudio":
                return (Clear(),)
            case unknown:
                raise RemoteProtocolError(f"the event {unknown!r:.60} is unknown")

    def _sound(self, media: dict[str, Any]) -> bytes:
        coded = payload(media)
        form = media.get("contentType")
        rate = number(media, "sampleRate", 8000, 16000) or 8000
        if form == "audio/x-mulaw" and rate == 8000:
            return self._g711.decode(coded)
        if form == "audio/x-l16" and rate == 8000:
            return coded
        raise RemoteProtocolError(f"sound as {form!r:.40} at {rate} Hz")
