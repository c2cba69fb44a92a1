"""What the dialects of Twilio, Telnyx and Exotel share: numbered JSON messages about one stream."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any, ClassVar, Final

from spech.bridge.dialects.base import (
    G711,
    BotCommand,
    BotMessage,
    Clear,
    SetMark,
    compact,
    member,
    payload,
    read_json,
    text,
)
from spech.errors import RemoteProtocolError

_FRAME_MS: Final = 20


class NumberedStream:
    """Sound in base64 in JSON. Each message has its number, as a text, and its stream's name.

    Attributes:
        number_name, stream_name: how the members with the two are called.
        track: members of each message of sound that say whose it is.
        law: of G.711, None for linear PCM.
    """

    number_name: ClassVar[str]
    stream_name: ClassVar[str]
    track: ClassVar[dict[str, str]] = {"track": "inbound"}
    law: ClassVar[str | None] = "PCMU"

    rate: int | None = 8000
    subprotocol: str | None = None
    plain = False
    follows_queue = False

    def __init__(self) -> None:
        self._g711 = None if self.law is None else G711(self.law)
        self._number = 0
        self._chunk = 0
        self._stream = ""

    def _event(self, name: str, value: dict[str, Any]) -> str:
        self._number += 1
        return compact(
            {
                "event": name,
                self.number_name: str(self._number),
                name: value,
                self.stream_name: self._stream,
            }
        )

    def hear(self, pcm: bytes) -> BotMessage:
        coded = pcm if self._g711 is None else self._g711.encode(pcm)
        place = {"chunk": str(self._chunk + 1), "timestamp": str(self._chunk * _FRAME_MS)}
        self._chunk += 1
        return self._event("media", {**self.track, **place, "payload": b64encode(coded).decode()})

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        value = read_json(message)
        match value.get("event"):
            case "media":
                coded = payload(member(value, "media"))
                return (coded if self._g711 is None else self._g711.decode(coded),)
            case "mark":
                return (SetMark(text(member(value, "mark"), "name")),)
            case "clear":
                return (Clear(),)
            case unknown:
                raise RemoteProtocolError(f"the event {unknown!r:.60} is unknown")
