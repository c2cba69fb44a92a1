"""The bridge's own protocol: PCM in binary messages, JSON in text; see docs/bots.md."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from spech.bridge.dialects.base import (
    AnswerCall,
    BotCommand,
    BotEvent,
    BotMessage,
    CallAnswered,
    CallInfo,
    Clear,
    Cleared,
    CommandRefused,
    ConversationEnded,
    DigitPressed,
    EndCall,
    HoldCall,
    MarkPassed,
    QueueLevel,
    SendDigits,
    SetMark,
    StartEarlyMedia,
    Started,
    StartRecording,
    StopRecording,
    TransferCall,
    Transferred,
    number,
    read_json,
    text,
)
from spech.errors import RemoteProtocolError

#: The commands by the classes of which a refusal tells the name.
_NAMES: Final[dict[type, str]] = {
    AnswerCall: "answer",
    StartEarlyMedia: "early_media",
    HoldCall: "hold",
    SetMark: "mark",
    StartRecording: "record",
    SendDigits: "dtmf",
    StopRecording: "stop_recording",
    TransferCall: "transfer",
}


class Raw:
    """PCM as it is; events and commands as JSON objects.

    A text message that is not JSON is refused, as is a command that is not known.
    """

    rate: int | None = None
    subprotocol: str | None = None
    plain = True
    follows_queue = False

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        message = self._message(event)
        return () if message is None else (json.dumps(message),)

    def _message(self, event: BotEvent) -> dict[str, Any] | None:
        match event:
            case Started(call):
                return introduce(call)
            case CallAnswered(codec):
                return {"event": "answered", "codec": codec}
            case DigitPressed(digit):
                return {"event": "dtmf", "digit": digit}
            case MarkPassed(name, played):
                return {"event": "mark", "name": name, "played": played}
            case Cleared(played_ms):
                return {"event": "cleared", "played_ms": round(played_ms)}
            case Transferred(status, reason):
                return {"event": "transferred", "status": status, "reason": reason}
            case CommandRefused(command, reason):
                return {
                    "event": "error",
                    "command": _NAMES.get(type(command), ""),
                    "reason": reason,
                }
            case ConversationEnded(cause, status, reason):
                return {"event": "end", "cause": cause, "status": status, "reason": reason}
            case QueueLevel():
                return None

    def hear(self, pcm: bytes) -> BotMessage:
        return pcm

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        if isinstance(message, bytes):
            return (message,)
        return (_command(read_json(message)),)


def introduce(call: CallInfo) -> dict[str, Any]:
    """The first message. What a call does not have is left out."""
    introduction: dict[str, Any] = {
        "id": call.id,
        "call_id": call.call_id,
        "direction": call.direction,
        "caller": call.caller,
        "called": call.called,
        "codec": call.codec,
        "rate": call.rate,
        "frame_samples": call.frame_samples,
    }
    more = {
        "display_name": call.display_name,
        "headers": dict(call.headers),
        "parameters": dict(call.parameters),
    }
    return introduction | {name: value for name, value in more.items() if value}


def _command(value: dict[str, Any]) -> BotCommand:
    match value.get("command"):
        case "clear":
            return Clear()
        case "mark":
            return SetMark(text(value, "name"))
        case "dtmf":
            return SendDigits(text(value, "digits"), number(value, "duration_ms", 40, 5000) or 100)
        case "answer":
            return AnswerCall()
        case "early_media":
            return StartEarlyMedia()
        case "hangup":
            status = number(value, "status", 200, 699)
            return EndCall(status, text(value, "reason") if "reason" in value else None)
        case "reject":
            return EndCall(number(value, "status", 400, 699) or 603)
        case "transfer":
            return TransferCall(text(value, "target"), attended=value.get("attended") is True)
        case "hold":
            return HoldCall(on=value.get("on", True) is not False)
        case "record":
            return StartRecording(text(value, "name"), stereo=value.get("stereo") is True)
        case "stop_recording":
            return StopRecording()
        case unknown:
            raise RemoteProtocolError(f"the command {unknown!r:.60} is unknown")
