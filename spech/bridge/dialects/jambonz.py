"""jambonz's ``listen`` verb with bidirectional, streaming audio.

https://docs.jambonz.org/verbs/verbs/listen
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spech.bridge.dialects.base import (
    BotCommand,
    BotEvent,
    BotMessage,
    CallInfo,
    Clear,
    DigitPressed,
    EndCall,
    MarkPassed,
    SetMark,
    Started,
    compact,
    identifier,
    member,
    read_json,
    text,
)
from spech.errors import RemoteProtocolError


class Jambonz:
    """PCM as it is, at 8 kHz unless the operator says otherwise; JSON in text messages."""

    rate: int | None = None
    subprotocol: str | None = "audio.jambonz.org"
    plain = True
    follows_queue = False

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return (compact(_introduction(call)),)
            case DigitPressed(digit):
                return (compact({"event": "dtmf", "dtmf": digit, "duration": "100"}),)
            case MarkPassed(name, played):
                data = {"name": name, "event": "playout" if played else "cleared"}
                return (compact({"type": "mark", "data": data}),)
            case _:
                return ()

    def hear(self, pcm: bytes) -> BotMessage:
        return pcm

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        if isinstance(message, bytes):
            return (message,)
        value = read_json(message)
        match value.get("type"):
            case "killAudio":
                return (Clear(),)
            case "mark":
                return (SetMark(text(member(value, "data"), "name")),)
            case "disconnect":
                return (EndCall(),)
            case unknown:
                raise RemoteProtocolError(f"the command {unknown!r:.60} is unknown")


def _introduction(call: CallInfo) -> dict[str, Any]:
    return {
        **call.parameters,
        "sampleRate": call.rate,
        "mixType": "mono",
        "callSid": identifier(call.call_id),
        "direction": call.direction,
        "from": call.caller,
        "to": call.called,
        "callId": call.call_id,
        "callerName": call.display_name or "",
        "sipStatus": 200,
        "callStatus": "in-progress",
    }
