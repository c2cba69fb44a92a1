"""What happens in the media of a call, as frozen values for the call to act on.

``Media.on_event`` is called with each of them in the tick in which it happens.
"""

from __future__ import annotations

from dataclasses import dataclass

from spech.audio.answerer import Greeting
from spech.audio.cadence import HeardTone


@dataclass(frozen=True, slots=True)
class EventDigit:
    """The peer sent a digit as a telephone event (RFC 4733); emitted at its first packet."""

    digit: str


@dataclass(frozen=True, slots=True)
class ToneDigit:
    """A digit was detected in the peer's sound (ITU-T Q.24)."""

    digit: str


@dataclass(frozen=True, slots=True)
class SpeechChanged:
    """The peer begins to speak, or has stopped."""

    speaking: bool


@dataclass(frozen=True, slots=True)
class CadenceHeard:
    """A tone of the network, or a beep, was recognized in the peer's sound."""

    tone: HeardTone


@dataclass(frozen=True, slots=True)
class GreetingJudged:
    """It was decided whether a person or a machine has answered."""

    greeting: Greeting


@dataclass(frozen=True, slots=True)
class InfoDigit:
    """A digit of ours is to be sent as an INFO request; its key was down for ``duration_ms``."""

    digit: str
    duration_ms: int


@dataclass(frozen=True, slots=True)
class HandshakeFinished:
    """The DTLS handshake has ended: ``failure`` is None, or says why there are no keys."""

    failure: str | None


MediaEvent = (
    EventDigit
    | ToneDigit
    | SpeechChanged
    | CadenceHeard
    | GreetingJudged
    | InfoDigit
    | HandshakeFinished
)
