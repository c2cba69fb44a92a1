"""What the pure stack tells the program. Frozen values, in the order in which things happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spech.agreement import Agreed
from spech.sip.message.uri import Uri
from spech.sip.transaction.flow import Flow

if TYPE_CHECKING:
    from spech.sip.call.session import Session
    from spech.sip.call.transfer import Referral, Transfer
    from spech.sip.dialog.dialog import Dialog
    from spech.sip.message.message import Request
    from spech.sip.registration import Registration
    from spech.sip.watching.content import Content
    from spech.sip.watching.mailbox import Mailbox
    from spech.sip.watching.subscription import Subscription


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """Somebody calls. 100 has been sent, nothing else."""

    session: Session


@dataclass(frozen=True, slots=True)
class Ringing:
    """The far end was found: a 180, or another provisional response without media."""

    session: Session
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class EarlyMedia:
    """A provisional response brought a session description: listen to it."""

    session: Session
    status: int
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class Redirected:
    """A 3xx names other targets, best first: resolve one and call ``UserAgent.redirect``."""

    session: Session
    targets: tuple[Uri, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The call is up. ``agreed`` is None when the answer is still to come with their ACK."""

    session: Session
    agreed: Agreed | None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Their ACK for our answer has come: from now on they can be asked for things."""

    session: Session


@dataclass(frozen=True, slots=True)
class MediaChanged:
    """A new offer and answer: hold, resume, another address, another codec."""

    session: Session
    agreed: Agreed


@dataclass(frozen=True, slots=True)
class ChangeRefused:
    """They refuse our hold or resume: ``direction`` stays, "sendonly" while we hold."""

    session: Session
    direction: str
    status: int


@dataclass(frozen=True, slots=True)
class DigitReceived:
    """A digit came in an INFO request (RFC 4733 digits come with the media)."""

    session: Session
    digit: str


@dataclass(frozen=True, slots=True)
class DigitSent:
    """What became of a digit that we sent in an INFO request: its final status."""

    session: Session
    digit: str
    status: int


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over. ``by`` is "local" or "remote"."""

    session: Session
    by: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """News of a transfer that we asked for: look at it."""

    session: Session
    transfer: Transfer


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """The far end asks us to call somebody else. It has been told 202: follow it or decline it."""

    session: Session
    referral: Referral


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """A registration succeeded, failed or was removed: look at it."""

    registration: Registration


@dataclass(frozen=True, slots=True)
class SubscriptionChanged:
    """A subscription was granted, lost or ended: look at it."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Notified:
    """The state that a subscription is about, whole."""

    subscription: Subscription
    content: Content


@dataclass(frozen=True, slots=True)
class MailboxChanged:
    """A server told without being asked whether messages wait."""

    mailbox: Mailbox


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A text message; ``request`` is the MESSAGE, which has been answered."""

    request: Request
    text: str


@dataclass(frozen=True, slots=True)
class HostNamed:
    """Requests in ``dialog`` go to a host by name: resolve it, then call ``dialog.locate``."""

    dialog: Dialog


@dataclass(frozen=True, slots=True)
class ConnectionOffered:
    """The connection of ``flow`` may carry what goes to that host at ``port`` (RFC 5923)."""

    flow: Flow
    port: int | None


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that is not SIP, or breaks its rules, was dropped."""

    flow: Flow
    cause: str


SessionEvent = (
    IncomingCall
    | Ringing
    | EarlyMedia
    | Redirected
    | Answered
    | Confirmed
    | MediaChanged
    | ChangeRefused
    | DigitReceived
    | DigitSent
    | CallEnded
    | TransferProgress
    | TransferRequested
)
Event = (
    SessionEvent
    | RegistrationChanged
    | SubscriptionChanged
    | Notified
    | MailboxChanged
    | MessageReceived
    | HostNamed
    | ConnectionOffered
    | Malformed
)
