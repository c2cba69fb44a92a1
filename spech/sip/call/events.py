"""What happens in a call. Frozen values; ``session`` is the Session that they are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spech.agreement import Agreed, Direction
from spech.sip.call.leg import Leg
from spech.sip.dialog.event import Event
from spech.sip.message.uri import Uri

#: Which end did something.
Party = Literal["local", "remote"]


@dataclass(frozen=True, slots=True)
class Ringing(Event):
    """The far end rings: a 180, or another provisional response without media."""

    session: Leg
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class EarlyMedia(Event):
    """A provisional response brought a session description: early media."""

    session: Leg
    status: int
    reason: str
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class Redirected(Event):
    """A 3xx names other targets, best first: resolve one and call ``Session.redirect``."""

    session: Leg
    targets: tuple[Uri, ...]


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The call is up. ``agreed`` is None when the answer is still to come with their ACK."""

    session: Leg
    agreed: Agreed | None


@dataclass(frozen=True, slots=True)
class Confirmed(Event):
    """Their ACK for our answer has come: from now on requests can be sent to them."""

    session: Leg


@dataclass(frozen=True, slots=True)
class MediaChanged(Event):
    """A new offer and answer: hold, resume, another address, another codec."""

    session: Leg
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class ChangeRefused(Event):
    """They refused our hold or resume: ``direction`` stays in force, "sendonly" while we hold."""

    session: Leg
    direction: Direction
    status: int


@dataclass(frozen=True, slots=True)
class DigitReceived(Event):
    """A digit came in an INFO request (RFC 4733 digits come with the media)."""

    session: Leg
    digit: str


@dataclass(frozen=True, slots=True)
class DigitSent(Event):
    """The final status of an INFO request that carried a digit of ours."""

    session: Leg
    digit: str
    status: int


@dataclass(frozen=True, slots=True)
class SessionEnded(Event):
    """The call is over; ``by`` says which end ended it."""

    session: Leg
    by: Party
    status: int
    reason: str
