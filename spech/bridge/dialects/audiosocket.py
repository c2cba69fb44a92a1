"""AudioSocket, which Asterisk speaks over TCP: a type, a length and a payload in each message.

https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/ and what Asterisk 22 does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from spech.bridge.dialects.base import (
    BotCommand,
    BotEvent,
    BotMessage,
    DigitPressed,
    EndCall,
    SendDigits,
    Started,
    identifier,
)
from spech.errors import RemoteProtocolError

HEAD_BYTES: Final = 3
"""Bytes before the payload: the type, and the length in network order."""

_HANG_UP: Final = 0x00
_UUID: Final = 0x01
_DIGIT: Final = 0x03
_ERROR: Final = 0xFF
#: The types of PCM by its rate in Hz.
_SOUND: Final = {8000: 0x10, 16000: 0x12, 24000: 0x13, 48000: 0x16}


class AudioSocket:
    """PCM of one rate. A message begins with its type and length, as on the wire.

    At the end the connection is closed without a message, as Asterisk does it.

    Args:
        rate: of the PCM, in Hz.
    """

    subprotocol: str | None = None
    plain = False
    follows_queue = False

    def __init__(self, rate: int = 8000) -> None:
        self.rate: int | None = rate
        self._kind = _SOUND[rate]

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        match event:
            case Started(call):
                return (_message(_UUID, UUID(identifier(call.call_id)).bytes),)
            case DigitPressed(digit):
                return (_message(_DIGIT, digit.encode()),)
            case _:
                return ()

    def hear(self, pcm: bytes) -> BotMessage | None:
        return _message(self._kind, pcm)

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        if isinstance(message, str) or len(message) < HEAD_BYTES:
            raise RemoteProtocolError("not a message of AudioSocket")
        kind, payload = message[0], message[HEAD_BYTES:]
        if kind == self._kind:
            return (payload,)
        if kind == _HANG_UP:
            return (EndCall(),)
        if kind == _DIGIT and payload.isascii():
            return (SendDigits(payload.decode()),)
        if kind == _ERROR:
            return (EndCall(500, f"the bot reports the error {payload[:8].hex()}"),)
        raise RemoteProtocolError(f"an AudioSocket message of the type {kind:#04x}")


def _message(kind: int, payload: bytes) -> bytes:
    return bytes((kind,)) + len(payload).to_bytes(2) + payload
