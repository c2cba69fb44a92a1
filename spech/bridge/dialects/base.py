"""What a bridge and a dialect tell each other.

A dialect is what a bot's server speaks on its WebSocket: which messages carry sound, and which
carry events and commands. It is a pure object, one for each call: values in, values out, no I/O and
no clock. The bridge tells it what happens in the call (:data:`BotEvent`), and gives it what the bot
says; it answers with messages for the bot, and with commands for the bridge (:data:`BotCommand`).
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
import uuid
from base64 import b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

import msgspec
import numpy as np

from spech.codecs import create
from spech.errors import RemoteProtocolError

BotMessage = str | bytes
"""A message of a WebSocket: text or binary."""

_FRAMES_PER_SECOND: Final = 50
_DIGIT: Final = re.compile("[0-9]")
#: Characters of a name, a target or a reason that a bot sends.
_LONGEST_TEXT: Final = 1000


@dataclass(frozen=True, slots=True)
class CallInfo:
    """Whose call it is, and how it sounds.

    Attributes:
        call_id: the Call-ID.
        caller: the caller's number.
        called: the number that was called.
        codec: of the call, None where it is not answered yet.
        rate: of the PCM that the bridge exchanges with the dialect, in Hz.
        frame_samples: samples in 20 ms of it.
        display_name: the caller's name.
        headers: header fields of the INVITE that say more: Diversion, User-to-User, ``X-...``.
        parameters: what the operator set with ``--parameter``, and a program for this call.
        direction: "inbound" where the caller is a person, "outbound" where it is the bot.
        id: the name of the call in the records and in the control plane of the bridge, a UUID as 32
            hexadecimal digits.
    """

    call_id: str
    caller: str
    called: str
    codec: str | None
    rate: int
    frame_samples: int
    display_name: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    direction: Literal["inbound", "outbound"] = "inbound"
    id: str = ""

    def sounding(self, codec: str | None, rate: int) -> CallInfo:
        """The same call with another codec, and another rate of PCM in Hz."""
        return replace(self, codec=codec, rate=rate, frame_samples=rate // _FRAMES_PER_SECOND)


# ---------------------------------------------------------------------- what happens in a call


@dataclass(frozen=True, slots=True)
class Started:
    """The WebSocket is open. It is always the first event."""

    call: CallInfo


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """The call has been answered, where that was left to the bot."""

    codec: str | None


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed a key."""

    digit: str


@dataclass(frozen=True, slots=True)
class MarkPassed:
    """What was written before a :class:`SetMark` has been played, or (``played`` false) dropped."""

    name: str
    played: bool


@dataclass(frozen=True, slots=True)
class Cleared:
    """The queue was emptied; ``played_ms`` of its sound had been played since it began."""

    played_ms: float


@dataclass(frozen=True, slots=True)
class QueueLevel:
    """How much sound waits to be played, each 20 ms, for dialects that follow the queue."""

    queued_ms: float


@dataclass(frozen=True, slots=True)
class Transferred:
    """The outcome of a transfer, as a SIP status; below 300 the call ends."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """A command could not be carried out."""

    command: BotCommand
    reason: str


@dataclass(frozen=True, slots=True)
class ConversationEnded:
    """The call is over, and the WebSocket will be closed. It is always the last event.

    Attributes:
        cause: "hangup" (the caller), "bot", "transfer", "shutdown" (of the bridge), or "error".
        status: SIP status.
        reason: for a person to read.
    """

    cause: str
    status: int
    reason: str


BotEvent = (
    Started
    | CallAnswered
    | DigitPressed
    | MarkPassed
    | Cleared
    | QueueLevel
    | Transferred
    | CommandRefused
    | ConversationEnded
)


# ---------------------------------------------------------------------- what a bot asks for


@dataclass(frozen=True, slots=True)
class Clear:
    """Drop the sound that waits."""


@dataclass(frozen=True, slots=True)
class SetMark:
    """Tell when all sound up to here has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop playing what waits, or go on."""

    paused: bool


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Send digits to the caller; see :meth:`spech.Call.send_dtmf`."""

    digits: str
    duration_ms: int = 100


@dataclass(frozen=True, slots=True)
class AnswerCall:
    """Answer the call, where that is left to the bot."""


@dataclass(frozen=True, slots=True)
class StartEarlyMedia:
    """Let sound flow before the answer (183)."""


@dataclass(frozen=True, slots=True)
class EndCall:
    """End the call.

    Attributes:
        status: with which a call that is not answered is rejected; of an answered one, the cause in
            the Reason header of the BYE (RFC 3326).
        reason: text of the Reason header.
    """

    status: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TransferCall:
    """Connect the caller to another party, and end the call.

    Attributes:
        target: a number or a SIP URI.
        attended: call the target first, and connect the caller once it has answered.
    """

    target: str
    attended: bool = False


@dataclass(frozen=True, slots=True)
class HoldCall:
    """Put the caller on hold, or take them off."""

    on: bool


@dataclass(frozen=True, slots=True)
class StartRecording:
    """Record the call into a file of that name."""

    name: str
    stereo: bool = False


@dataclass(frozen=True, slots=True)
class StopRecording:
    """Complete the recording."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Send a message to the bot at once."""

    message: BotMessage


BotCommand = (
    bytes
    | Clear
    | SetMark
    | Pause
    | SendDigits
    | AnswerCall
    | StartEarlyMedia
    | EndCall
    | TransferCall
    | HoldCall
    | StartRecording
    | StopRecording
    | Reply
)
"""Bytes are sound to be played: int16 little-endian, in chunks of any length."""


# ---------------------------------------------------------------------- a dialect


class Dialect(Protocol):
    """One bot's side of one call.

    Attributes:
        rate: of the PCM, in Hz; None for what the operator asks for, or that of the call's codec.
        subprotocol: of the WebSocket, None for none.
        plain: whether binary messages are the PCM as it is, both ways. The bridge then passes them
            on by itself, and asks neither :meth:`hear` nor :meth:`read` about them.
        follows_queue: whether :class:`QueueLevel` is wanted.
    """

    rate: int | None
    subprotocol: str | None
    plain: bool
    follows_queue: bool

    def tell(self, event: BotEvent) -> Iterable[BotMessage]:
        """What the bot is told about something that happens in the call."""
        ...

    def hear(self, pcm: bytes) -> BotMessage | None:
        """The message that carries 20 ms of what the caller says; None where the bot wants none."""
        ...

    def read(self, message: BotMessage) -> Iterable[BotCommand]:
        """What the bot asks for.

        Raises:
            RemoteProtocolError: the message is not one of this dialect. The bridge logs the first
                one of a call, and ignores it.
        """
        ...


# ---------------------------------------------------------------------- what dialects share


def read_json(message: BotMessage) -> dict[str, Any]:
    """The JSON object in a text message.

    Raises:
        RemoteProtocolError: it holds none.
    """
    if isinstance(message, bytes):
        raise RemoteProtocolError(f"a binary message of {len(message)} bytes")
    try:
        value = msgspec.json.decode(message)
    except (ValueError, RecursionError):
        raise RemoteProtocolError(f"not JSON: {_beginning(message)}") from None
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"not a JSON object: {_beginning(message)}")
    return value


def _beginning(message: str) -> str:
    """The beginning of a message, to be logged: what is dialed may be in it."""
    return repr(_DIGIT.sub("x", message[:60]))


def member(value: dict[str, Any], name: str) -> dict[str, Any]:
    """The object within an object.

    Raises:
        RemoteProtocolError: there is none.
    """
    found = value.get(name)
    if not isinstance(found, dict):
        raise RemoteProtocolError(f"{name!r} is not an object")
    return found


def text(value: dict[str, Any], name: str) -> str:
    """A text within an object; numbers are taken as well.

    Raises:
        RemoteProtocolError: there is none, or it is too long.
    """
    found = value.get(name)
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST_TEXT:
        raise RemoteProtocolError(f"{name!r} is not a text of 1 to {_LONGEST_TEXT} characters")
    return found


def number(value: dict[str, Any], name: str, least: int, most: int) -> int | None:
    """A whole number within an object, None where there is none.

    Raises:
        RemoteProtocolError: it is something else, or out of range.
    """
    found = value.get(name)
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise RemoteProtocolError(f"{name!r} is not a number from {least} to {most}")
    return found


def payload(value: dict[str, Any]) -> bytes:
    """The bytes of a ``payload`` in base64.

    Raises:
        RemoteProtocolError: there is none.
    """
    found = value.get("payload")
    if not isinstance(found, str):
        raise RemoteProtocolError("there is no payload")
    try:
        return b64decode(found)
    except (binascii.Error, ValueError):
        raise RemoteProtocolError("the payload is not base64") from None


def sid(prefix: str, seed: str) -> str:
    """An identifier of two letters and 32 hexadecimal digits; the same for a seed."""
    return prefix + hashlib.sha256(f"{prefix} {seed}".encode()).hexdigest()[:32]


def identifier(seed: str) -> str:
    """A UUID; the same for a seed."""
    return str(uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4))


def compact(value: Mapping[str, Any]) -> str:
    """JSON without blanks."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # A header field that was not UTF-8: its bytes are escaped.
        return json.dumps(value, separators=(",", ":"))


class G711:
    """PCM to G.711 and back, for dialects that carry it.

    Args:
        law: "PCMU" or "PCMA".
    """

    def __init__(self, law: str) -> None:
        self._codec = create(law)

    def encode(self, pcm: bytes) -> bytes:
        """One byte for each sample of int16 little-endian PCM."""
        return self._codec.encode(np.frombuffer(pcm, "<i2"))

    def decode(self, coded: bytes) -> bytes:
        """Int16 little-endian PCM, two bytes for each byte."""
        return self._codec.decode(coded).astype("<i2", copy=False).tobytes()
