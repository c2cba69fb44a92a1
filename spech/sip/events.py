"""All events of the SIP stack in one place, for programs that match on them.

Each is defined beside the object that it is about.
"""

from __future__ import annotations

from spech.sip.agent import ConnectionOffered, Malformed
from spech.sip.call.events import (
    Answered,
    ChangeRefused,
    Confirmed,
    DigitReceived,
    DigitSent,
    EarlyMedia,
    MediaChanged,
    Redirected,
    Ringing,
    SessionEnded,
)
from spech.sip.call.session import InviteReceived
from spech.sip.call.transfer import TransferProgress, TransferRequested
from spech.sip.dialog.dialog import HostNamed
from spech.sip.dialog.event import Event
from spech.sip.dialog.general import MessageReceived
from spech.sip.registration import RefreshDue, RegistrationChanged
from spech.sip.watching.mailbox import MailboxChanged
from spech.sip.watching.subscription import Notified, ResubscribeDue, SubscriptionChanged

__all__ = [
    "Answered",
    "ChangeRefused",
    "Confirmed",
    "ConnectionOffered",
    "DigitReceived",
    "DigitSent",
    "EarlyMedia",
    "Event",
    "HostNamed",
    "InviteReceived",
    "MailboxChanged",
    "Malformed",
    "MediaChanged",
    "MessageReceived",
    "Notified",
    "Redirected",
    "RefreshDue",
    "RegistrationChanged",
    "ResubscribeDue",
    "Ringing",
    "SessionEnded",
    "SessionEvent",
    "SubscriptionChanged",
    "TransferProgress",
    "TransferRequested",
]

#: What a call reports after it was made or has come.
SessionEvent = (
    Ringing
    | EarlyMedia
    | Redirected
    | Answered
    | Confirmed
    | MediaChanged
    | ChangeRefused
    | DigitReceived
    | DigitSent
    | SessionEnded
    | TransferProgress
    | TransferRequested
)
