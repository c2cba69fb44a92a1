"""What happens in a call. Frozen values; ``session`` is the Session that they are about."""

from __future__ import annotations

from dataclasses import dataclass

from spech.agreement import Agreed
from spech.sip.call.leg import Leg
from spech.sip.dialog.event import Event
from spech.sip.message.uri import Uri


@dataclass(frozen=True, slots=True)
class Ringing(Event):
    """The far end was found: a 180, or another provisional response without media."""

    session: Leg
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class EarlyMedia(Event):
    """A provisional response brought a session description: listen to it."""

    session: Leg
    status: int
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class Redirected(Event):
    """A 3xx names other targets, best first: resolve one and call ``UserAgent.redirect``."""

    session: Leg
    targets: tuple[Uri, ...]


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The call is up. ``agreed`` is None when the answer is still to come with their ACK."""

    session: Leg
    agreed: Agreed | None


@dataclass(frozen=True, slots=True)
class Confirmed(Event):
    """Their ACK for our answer has come: from now on they can be asked for things."""

    session: Leg


@dataclass(frozen=True, slots=True)
class MediaChanged(Event):
    """A new offer and answer: hold, resume, another address, another codec."""

    session: Leg
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class ChangeRefused(Event):
    """They refuse our hold or resume: ``direction`` stays, "sendonly" while we hold."""

    session: Leg
    direction: str
    status: int


@dataclass(frozen=True, slots=True)
class DigitReceived(Event):
    """A digit came in an INFO request (RFC 4733 digits come with the media)."""

    session: Leg
    digit: str


@dataclass(frozen=True, slots=True)
class DigitSent(Event):
    """What became of a digit that we sent in an INFO request: its final status."""

    session: Leg
    digit: str
    status: int


@dataclass(frozen=True, slots=True)
class CallEnded(Event):
    """The call is over. ``by`` is "local" or "remote"."""

    session: Leg
    by: str
    status: int
    reason: str
