"""Vonage's Voice API: a WebSocket as an endpoint of a call.

https://developer.vonage.com/en/voice/voice-api/concepts/websockets
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from spech.bridge.dialects.base import (
    BotCommand,
    BotEvent,
    BotMessage,
    Clear,
    Cleared,
    DigitPressed,
    MarkPassed,
    SetMark,
    Started,
    compact,
    member,
    read_json,
)
from spech.errors import RemoteProtocolError


class Vonage:
    """PCM at 16 kHz as it is; events and commands as JSON objects."""

    rate: int | None = 16000
    subprotocol: str | None = None
    plain = True
    follows_queue = False

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                form = f"audio/l16;rate={call.rate}"
                connected = {"event": "websocket:connected", "content-type": form}
                return (compact({**call.parameters, **connected}),)
            case DigitPressed(digit):
                dtmf = {"event": "websocket:dtmf", "digit": digit, "duration": 100}
                return (compact(dtmf),)
            case MarkPassed(name, True):
                return (compact({"event": "websocket:notify", "payload": json.loads(name)}),)
            case Cleared():
                return (compact({"event": "websocket:cleared"}),)
            case _:
                return ()

    def hear(self, pcm: bytes) -> BotMessage:
        return pcm

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        if isinstance(message, bytes):
            return (message,)
        value = read_json(message)
        match value.get("action"):
            case "clear":
                return (Clear(),)
            case "notify":
                # What the bot wants to have back can be any object.
                return (SetMark(compact(member(value, "payload"))),)
            case unknown:
                raise RemoteProtocolError(f"the action {unknown!r:.60} is unknown")
